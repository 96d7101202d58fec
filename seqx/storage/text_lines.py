"""Read text files line by line: UTF-8, plain or compressed with gzip, bzip2, xz or zstd."""

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from seqx.errors import UserError
from seqx.storage.compressed import decompressed

MAX_LINE_BYTES = 1 << 24
"""Maximum bytes of a line with its line feed. A longer line is unlikely to be text, and could fill memory."""

TOO_LONG = f"the line has more than {MAX_LINE_BYTES:,} bytes; end lines with a line feed, and split this one"

_PART_BYTES = 1 << 16
_CONVERT = "convert the text to UTF-8, for example with iconv"


def expand_path(name: str) -> Path:
    """Convert a path that a user wrote to an absolute path.

    `${NAME}` is replaced by the environment variable, `~` by the home folder.

    Raises:
        UserError: the environment variable is not set, or the home folder is unknown
    """

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UserError(f"{name}: the environment variable {match[1]} is not set; set it to a folder")
        return os.environ[match[1]]

    path = Path(re.sub(r"\$\{(\w+)\}", variable, name))
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise UserError(
            f"{name}: the home folder {path.parts[0]} is unknown; write the path of the folder instead"
        ) from None


def read_lines(
    path: Path, *, errors: Literal["strict", "replace"] = "strict", refuse_pipes: bool = False
) -> Iterator[str]:
    r"""Yield the lines of a text file, without line endings.

    Only "\n" ends a line: corpora contain U+0085, U+2028 and lone carriage returns, at which other readers
    split. "\r" before "\n" and a byte order mark at the beginning are removed. Files compressed with gzip,
    bzip2, xz or zstd are recognised by their first bytes.

    Args:
        path: the file
        errors: "strict" refuses bytes that are not UTF-8, "replace" reads them as U+FFFD
        refuse_pipes: refuse files that cannot be read twice, such as pipes

    Raises:
        UserError: the file cannot be read or is damaged, or a line is not UTF-8 or too long
    """
    if refuse_pipes:
        _refuse_pipe(path)
    return _decoded(_file_lines(path), str(path), errors)


def as_one_line(text: str) -> str:
    """Replace line feeds and carriage returns, which a byte-level model can output, by spaces."""
    return text.replace("\n", " ").replace("\r", " ")


def read_parts(path: Path) -> Iterator[str]:
    """Yield the text of a file in parts of at most 64 Ki characters, for formats that may have no lines.

    The text is read as by `read_lines` with `refuse_pipes`, but line endings are kept.

    Raises:
        UserError: the file cannot be read or is damaged, or the text is not UTF-8
    """
    _refuse_pipe(path)
    decoder, line = codecs.getincrementaldecoder("utf-8-sig")(), 1
    try:
        with path.open("rb") as file:
            stream = decompressed(file, str(path))
            while part := stream.read(_PART_BYTES):
                yield decoder.decode(part)
                line += part.count(b"\n")
            decoder.decode(b"", final=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        raise UserError(f"{path}:{line}: the line is not UTF-8 ({error.reason}); {_CONVERT}") from None


def _refuse_pipe(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(
            f"{path}: is not a regular file, but its text is read more than once; copy it to a file first"
        )


def read_standard_input(stream: BinaryIO | None = None) -> Iterator[str]:
    """Yield the lines of standard input, as `read_lines` does for a file.

    Args:
        stream: the bytes to read; None: those of `sys.stdin`

    Raises:
        UserError: a line is not UTF-8 or too long, or the input is compressed and damaged
    """
    source = "standard input"
    return _decoded(_raw_lines(sys.stdin.buffer if stream is None else stream, source), source)


def _decoded(raw: Iterable[bytes], source: str, errors: str = "strict") -> Iterator[str]:
    for number, line in enumerate(raw, 1):
        if len(line) > MAX_LINE_BYTES:
            raise UserError(f"{source}:{number}: {TOO_LONG}")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors)
            yield text.removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{source}:{number}: byte {error.start + 1} of the line is not UTF-8 ({error.reason}); "
                f"{_CONVERT}"
            ) from None


def _raw_lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield lines up to the first one that is too long, which is cut after `MAX_LINE_BYTES` + 1 bytes."""
    stream = decompressed(file, name)
    while line := stream.readline(MAX_LINE_BYTES + 1):
        yield line
        if len(line) > MAX_LINE_BYTES:
            return


def _file_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from _raw_lines(file, str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
