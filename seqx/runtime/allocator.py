"""Control the memory allocator of glibc. With another C library these functions do nothing."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_heap() -> None:
    """Keep freed memory for the next tensors instead of returning it to the system.

    Otherwise, each update of a small model would request the same memory again, which is slow.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def trim_heap() -> None:
    """Return freed memory to the system. Call it after a step that needs much memory only once."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None
