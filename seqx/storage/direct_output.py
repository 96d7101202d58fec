"""Files that cannot be replaced, and are written directly: devices, pipes and the standard streams."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal, TextIO


def unreplaceable(file: Path) -> int | Path | None:
    """Return what to open to write a device, a pipe or a standard stream; None for any other path.

    For standard output and standard error, return their descriptors, also if they are directed to a regular
    file: whoever opened that file would not see a new one, and the position in it is shared.

    Raises:
        OSError: the path cannot be examined
    """
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    for stream in (1, 2):
        with suppress(OSError):  # the stream is closed
            if os.path.samestat(os.fstat(stream), status):
                return stream
    return None if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) else file


def open_output(file: Path, mode: Literal["w", "a"]) -> TextIO:
    """Open a text file to write it from its beginning or to append to it; a standard stream is continued.

    Raises:
        OSError: the file cannot be opened
    """
    target = unreplaceable(file)
    opened = os.dup(target) if isinstance(target, int) else file
    return open(opened, mode, encoding="utf-8", newline="\n")  # noqa: PTH123  it may be a descriptor
