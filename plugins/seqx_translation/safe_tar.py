"""Reading of untrusted tar archives with bounds on memory and disk use."""

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
_READ = 1 << 24  # maximum bytes of one read, and so of a header
_MEMBERS = 100_000  # maximum entries of an archive

MIN_LIMIT = 1 << 28
"""Decompressed bytes that are allowed for an archive of any size."""

MAX_RATIO = 100
"""Maximum decompressed bytes per byte of a larger archive. Text has at most about 10, zeros about 1,000."""


@contextmanager
def members(path: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]]:
    """Yield the entries of an archive (plain or gzip), each with the open archive.

    Raises:
        UserError: the archive has too many entries, or decompresses to too many bytes
        tarfile.ReadError: a header is too large, or members are not in order
    """
    max_bytes = limit(path)
    with path.open("rb") as raw:
        compressed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        with gzip.open(raw) if compressed else raw as stream:
            file = _ForwardReader(stream, path, max_bytes)
            with tarfile.TarFile(fileobj=file, mode="r") as tar:
                yield _entries(tar, path)


def limit(path: Path) -> int:
    """Return the maximum number of bytes that a file may decompress to."""
    return max(MIN_LIMIT, MAX_RATIO * path.stat().st_size)


def _entries(tar: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    for _ in range(_MEMBERS):
        member = tar.next()
        if member is None:
            return
        tar.members = []  # type: ignore[attr-defined]  # otherwise tarfile keeps all entries in memory
        yield member, tar
    raise seqx.UserError(f"{path}: has more than {_MEMBERS:,} members, too many for an archive of text")


class _ForwardReader(io.RawIOBase):
    """A stream that is read forwards only, in reads of bounded size, up to `max_bytes` bytes."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, path: Path, max_bytes: int) -> None:
        self._stream, self._path, self._max_bytes = stream, path, max_bytes
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _READ:
            raise tarfile.ReadError(f"a header of {size:,} bytes; the maximum is {_READ:,}")
        content = self._stream.read(size)
        self._position += len(content)
        if self._position > self._max_bytes:
            raise seqx.UserError(
                f"{self._path}: decompresses to more than {self._max_bytes:,} bytes, too many for text"
            )
        return content

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._position:
            raise tarfile.ReadError("its members are not in order")
        while self._position < offset and self.read(min(_CHUNK, offset - self._position)):
            pass
        return self._position
