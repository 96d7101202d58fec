"""Read files of unknown origin up to a maximum size."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


class BoundError(OSError):
    """A file that is too large, or is not a regular file."""

    def __str__(self) -> str:
        return str(self.strerror)


def read_bounded(file: Path, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes` bytes; links are followed.

    Raises:
        BoundError: the file is larger, or not a regular file; nothing was read
        OSError: the file cannot be read
    """
    with open_bounded(file, max_bytes) as stream:
        return stream.read(
            os.fstat(stream.fileno()).st_size
        )  # with a size, the buffer is allocated only once


@contextmanager
def open_bounded(file: Path, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file of at most `max_bytes` bytes; links are followed.

    Raises:
        BoundError: the file is larger, or not a regular file
        OSError: the file cannot be opened
    """
    with open(file, "rb", opener=_nonblocking) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BoundError(errno.EINVAL, "it is not a regular file")
        if status.st_size > max_bytes:
            raise BoundError(errno.EFBIG, f"it has {status.st_size:,} bytes; the maximum is {max_bytes:,}")
        yield stream


def _nonblocking(name: str, flags: int) -> int:
    """Open a file without waiting for the writer of a pipe."""
    return os.open(name, flags | os.O_NONBLOCK)


def read_bounded_json(file: Path, max_bytes: int) -> Any:
    """Read the value in a JSON file of at most `max_bytes` bytes.

    Raises:
        OSError: the file cannot be read, or is larger
        ValueError: it is not JSON, or is nested deeper than Python's parser allows
    """
    text = read_bounded(file, max_bytes).decode()
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
