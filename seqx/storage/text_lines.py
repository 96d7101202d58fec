"""Text in files, read line by line: UTF-8, plain or packed by gzip, bzip2, xz or zstd."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from seqx.errors import UserError
from seqx.storage.packed import unpacked

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
    r"""The lines of a file, ended by "\n" alone; "\r" before it is Windows' and no text.

    A byte order mark before the first line is no text, either. A file that is packed by gzip, bzip2, xz or
    zstd is recognised by its first bytes, and unpacked while it is read.

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


def standard_input(stream: BinaryIO | None = None) -> Iterator[str]:
    """The lines of standard input, as those of a file.

    Args:
        stream: the bytes of the file, if it is open already

    Raises:
        UserError: some line is not UTF-8, or too long, or the input is packed and damaged
    """
    source = "standard input"
    return _decoded(_raw_lines(sys.stdin.buffer if stream is None else stream, source), source)


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
                "convert the text to UTF-8, as with iconv"
            ) from None


def _raw_lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of a file, up to one that is longer than `LONGEST`, which is cut a byte behind that."""
    text = unpacked(file, name)
    while line := text.readline(LONGEST + 1):
        yield line
        if len(line) > LONGEST:
            return


def _bytes(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from _raw_lines(file, str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
