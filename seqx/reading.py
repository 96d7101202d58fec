"""Text in files, read line by line: UTF-8, plain or gzip."""

import gzip
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from seqx.errors import UserError

LONGEST = 1 << 24
"""Most bytes of a line with its end. What has more is no text, and would be read into memory whole."""

TOO_LONG = f"the line has more than {LONGEST:,} bytes; end lines with a line feed, and break this one"


def expand(name: str) -> Path:
    """The path that a user wrote: `${NAME}` is an environment variable, `~` the home, all else below here.

    Raises:
        UserError: the variable is not set, or the home is not known
    """

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UserError(
                f"{name}: the environment variable {match[1]} is not set; set it to the folder that is meant"
            )
        return os.environ[match[1]]

    path = Path(re.sub(r"\$\{(\w+)\}", variable, name))
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise UserError(
            f"{name}: it is not known where {path.parts[0]} is; write the path of the folder instead"
        ) from None


def lines(
    path: Path, *, errors: Literal["strict", "replace"] = "strict", plain: bool = False
) -> Iterator[str]:
    r"""The lines of a file (.gz or plain), ended by "\n" alone; "\r" before it is Windows' and no text.

    A byte order mark before the first line is none, either.

    Text of the field is full of U+0085, U+2028 and lone carriage returns, which other readers split at.

    Args:
        path: the file
        errors: whether bytes that are not UTF-8 are a mistake, or become U+FFFD
        plain: refuse a pipe, a device or the like, because the text will be read again

    Raises:
        UserError: the file cannot be read or is damaged, or some line is not UTF-8 or too long
    """
    if plain and path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(
            f"{path}: is no plain file, and its text is read again; write it to a file, and name that"
        )
    return _decoded(_bytes(path), str(path), errors)


def standard_input() -> Iterator[str]:
    """The lines of standard input, as those of a file.

    Raises:
        UserError: some line is not UTF-8, or too long
    """
    return _decoded(raw_lines(sys.stdin.buffer), "standard input")


def _decoded(raw: Iterable[bytes], source: str, errors: str = "strict") -> Iterator[str]:
    for number, line in enumerate(raw, 1):
        if len(line) > LONGEST:
            raise UserError(f"{source}:{number}: {TOO_LONG}")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors)
            yield text.removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{source}:{number}: byte {error.start + 1} of the line is not UTF-8 ({error.reason}); "
                "convert the text to UTF-8"
            ) from None


def raw_lines(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    """The lines of a file, up to one that is longer than `LONGEST`, which is cut a byte behind that."""
    while line := file.readline(LONGEST + 1):
        yield line
        if len(line) > LONGEST:
            return


def _bytes(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from raw_lines(file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: is damaged or cut off ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
