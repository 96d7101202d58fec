"""What one GPU does with seqx, measured in less than nine minutes: `benchmarks/gpu.sh`."""
