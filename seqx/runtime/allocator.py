"""What becomes of memory that this process no longer needs: settings of glibc, nothing where it is not."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of its malloc.h


def keep_heap() -> None:
    """Keep freed memory for the next tensors instead of giving it back to the system each time.

    Fresh pages cost more than what fills them is worth: training of small models on a CPU is a tenth faster.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def trim_heap() -> None:
    """Give freed memory back to the system, after something that needed much and will not come again."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None
