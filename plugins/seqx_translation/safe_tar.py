"""Reads tar archives of strangers: nothing in one decides how much memory or disk it takes."""

import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import seqx

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_READ = 1 << 24  # bytes that are asked for at once: what a header of tar may have
_MEMBERS = 100_000  # entries of an archive

LEAST = 1 << 28
"""Bytes that a small archive may unpack to."""

RATIO = 100
"""Bytes that each byte of an archive may unpack to. Text packs to a tenth at best, zeros to a thousandth."""


@contextmanager
def members(path: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]]:
    """The entries of an archive (plain or gzip), one after another, each with what it can be read out of.

    Raises:
        UserError: it has more entries, larger headers, or unpacks to more than any archive of text
    """
    most = limit(path)
    with path.open("rb") as raw:
        packed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        with gzip.open(raw) if packed else raw as stream:
            file = _Forward(stream, path, most)
            with tarfile.TarFile(fileobj=file, mode="r") as tar:
                yield _entries(tar, path)


def limit(path: Path) -> int:
    """The most bytes that a file's content may unpack to."""
    return max(LEAST, RATIO * path.stat().st_size)


def _entries(tar: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    for _ in range(_MEMBERS):
        member = tar.next()
        if member is None:
            return
        tar.members = []  # type: ignore[attr-defined]  # it would keep them all
        yield member, tar
    raise seqx.UserError(f"{path}: has more than {_MEMBERS:,} members, as no archive of text has")


class _Forward(io.RawIOBase):
    """A stream that is read from its beginning to its end, in parts of bounded size, up to a bound."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, path: Path, most: int) -> None:
        self._stream, self._path, self._most = stream, path, most
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _READ:
            raise tarfile.ReadError(f"a header of {size:,} bytes; none has more than {_READ:,}")
        found = self._stream.read(size)
        self._at += len(found)
        if self._at > self._most:
            raise seqx.UserError(
                f"{self._path}: unpacks to more than {self._most:,} bytes, which no archive of text does"
            )
        return found

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._at:
            raise tarfile.ReadError("its members do not follow one another")
        while self._at < offset and self.read(min(_CHUNK, offset - self._at)):
            pass
        return self._at
