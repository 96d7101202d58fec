"""Files that may come from a stranger, read whole, but never past a bound."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


class BoundError(OSError):
    """A file that is larger than any of its kind, or is no plain file."""

    def __str__(self) -> str:
        return str(self.strerror)


def content(file: Path, most: int) -> bytes:
    """The bytes of a plain file that has at most `most` of them; links are followed.

    Raises:
        BoundError: it is larger, or a pipe, a device or the like; nothing was read
        OSError: it cannot be read
    """
    with opened(file, most) as stream:
        return stream.read(os.fstat(stream.fileno()).st_size)  # this allocates as many bytes at once


@contextmanager
def opened(file: Path, most: int) -> Iterator[BinaryIO]:
    """Open a plain file that has at most `most` bytes, as `content` does.

    Raises:
        BoundError: it is larger, or a pipe, a device or the like
        OSError: it cannot be opened
    """
    # A pipe that nobody writes to would otherwise be waited for.
    with open(file, "rb", opener=_without_waiting) as stream:
        about = os.fstat(stream.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise BoundError(errno.EINVAL, "it is no plain file")
        if about.st_size > most:
            raise BoundError(
                errno.EFBIG, f"it has {about.st_size:,} bytes, and no file of its kind has more than {most:,}"
            )
        yield stream


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def json_content(file: Path, most: int) -> Any:
    """The value in a JSON file of at most `most` bytes.

    Raises:
        OSError: it cannot be read, or is larger
        ValueError: it is no JSON, or nested deeper than Python can follow
    """
    text = content(file, most).decode()
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
