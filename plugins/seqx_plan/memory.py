"""The memory of this machine and of this process."""

import contextlib
import ctypes
import os
import re
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def available(device: torch.device) -> int | None:
    """Return the bytes of memory that a device has for a run; None if they are unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [_number(Path("/proc/meminfo"), r"MemAvailable:\s*(\d+) kB", 1024)]
    limits.append(_number(Path("/sys/fs/cgroup/memory.max"), r"(\d+)", 1))
    return min((limit for limit in limits if limit is not None), default=None)


def _number(file: Path, pattern: str, unit: int) -> int | None:
    with contextlib.suppress(OSError):
        if match := re.search(pattern, file.read_text(encoding="utf-8")):
            return int(match[1]) * unit
    return None


class _MallInfo(ctypes.Structure):
    """The struct `mallinfo2` of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"),
            *("fordblks", "keepcost"),
        )
    ]


def allocated() -> int | None:
    """Return the bytes that this process has allocated and not freed; None without glibc 2.33 or later."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return None
    mallinfo.restype = _MallInfo
    return int(mallinfo().uordblks)


class PeakMemory:
    """A measurement of the peak memory of a device, above the memory in use when the measurement began."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):
                _CLEAR.write_text("5", encoding="ascii")  # the peak begins at the current size
        self.start = self._read("VmRSS")

    def _read(self, name: str) -> int | None:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_reserved(self._device)
        return _number(_STATUS, rf"{name}:\s*(\d+) kB", 1024)

    def growth(self) -> int | None:
        """Return the bytes of the peak above the memory at the start; None if they are not known."""
        peak = self._read("VmHWM")
        return None if peak is None or self.start is None else max(0, peak - self.start)


def num_threads() -> int:
    """Return the number of CPU threads that torch uses."""
    return min(torch.get_num_threads(), os.cpu_count() or 1)
