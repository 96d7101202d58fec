"""Measurements of seqx on one GPU in less than nine minutes; `benchmarks/gpu.sh` runs them."""
