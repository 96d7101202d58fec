"""Locks between processes that work in the same folder."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def file_lock(file: Path, *, on_wait: Callable[[], object] | None = None) -> Iterator[bool]:
    """Hold an exclusive lock on a file, which is created if it is missing.

    The lock ends with the block, or with the process.

    Args:
        file: the lock file, which is not removed afterwards
        on_wait: called before waiting for another process; None: do not wait

    Yields:
        true if this process holds the lock; false if the file system does not support locks

    Raises:
        BlockingIOError: another process holds the lock, and `on_wait` is None
        OSError: the file cannot be opened
    """
    with file.open("a", encoding="utf-8") as stream:
        yield _acquire(stream, on_wait)


def _acquire(stream: IO[str], on_wait: Callable[[], object] | None) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if on_wait is None:
            raise
        on_wait()
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError:
        return False
    return True
