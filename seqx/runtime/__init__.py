"""The process and its machine: devices, memory, CPU threads, signals and standard streams."""
