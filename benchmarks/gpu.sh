#!/usr/bin/env bash
# Measures seqx on one GPU in less than nine minutes; see benchmarks/README.md.
#
#   benchmarks/gpu.sh [--out FILE] [--dry-run] ...
#
# It needs a checkout and a Python with PyTorch. It installs wheels from .whl/ into a temporary folder, reads data
# from .carry/, and downloads nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G '.whl/*.whl' >/dev/null; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" .whl/*.whl
fi
# Deterministic products need it from the first use of cuBLAS on.
export CUBLAS_WORKSPACE_CONFIG=${CUBLAS_WORKSPACE_CONFIG:-:4096:8}
export PYTHONPATH="$PWD:$PWD/plugins:$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
"$python" benchmarks/gpu/checkout.py "$site"
"$python" -m benchmarks.gpu --elapsed "$SECONDS" "$@"
