#!/usr/bin/env bash
# What is compared on Multi30k: the rivals, then the rows of Table 3. Hours on a CPU; given again, it goes on.
#
#   SEQX_DATA=... nohup benchmarks/multi30k.sh --workers 2 &
#   SEQX_DATA=... benchmarks/multi30k.sh --full --device cuda
#
# Options are for both. Records go to runs/rivals.json and runs/table3.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p runs
python -m benchmarks.rivals --out runs/rivals.json "$@"
python -m benchmarks.table3 --out runs/table3.json "$@"
