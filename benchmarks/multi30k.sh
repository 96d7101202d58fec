#!/usr/bin/env bash
# Compares models on Multi30k: benchmarks.compare_architectures, then benchmarks.table3. This takes hours on a CPU; if it is
# stopped, the same command resumes.
#
#   SEQX_DATA=... nohup benchmarks/multi30k.sh --workers 2 &
#   SEQX_DATA=... benchmarks/multi30k.sh --full --device cuda
#
# Options apply to both. The records are runs/compare_architectures.json and runs/table3.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p runs
python -m benchmarks.compare_architectures --out runs/compare_architectures.json "$@"
python -m benchmarks.table3 --out runs/table3.json "$@"
