"""The memory that a run uses."""

import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/statm")


def memory_in_use(device: str) -> str:
    """Return a text such as "1.2 GB": the memory that torch has reserved on a GPU, or that of the process."""
    return f"{bytes_in_use(device) / 1e9:.1f} GB"


def bytes_in_use(device: str) -> int:
    """Return the bytes that torch has reserved on a GPU, or on a CPU those of the process."""
    if device.startswith("cuda"):
        return torch.cuda.memory_reserved(device)
    try:
        return int(_STATUS.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:  # not Linux: the largest size so far, which macOS counts in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
