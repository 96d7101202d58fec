"""Read compressed files, and decompress them part by part."""

import bz2
import importlib
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol, cast

from seqx.errors import UserError
from seqx.storage.file_types import MAGIC_BYTES, compression, not_text

_CHUNK = 1 << 16
_MAX_MEMORY = 1 << 28  # bytes for decompression; xz -9 takes 65 MiB
_ZSTD_WINDOW_LOG = 27  # log2 of the largest window, as for the command zstd
_ALWAYS_ALLOWED = 1 << 30  # bytes of output
_MAX_RATIO = 2000  # output bytes per input byte, checked above `_ALWAYS_ALLOWED`; gzip reaches 1,032


def decompressed(stream: BinaryIO, name: str) -> BinaryIO:
    """Return a stream of the text in a file, which may be compressed with gzip, bzip2, xz or zstd.

    Reading from it raises a UserError if the compressed data is damaged or truncated.

    Args:
        stream: an open file, at its beginning
        name: the name of the file in messages

    Raises:
        UserError: the first bytes are those of another file type
    """
    stream = _peekable(stream)
    outer = compression(_peek(stream))
    if outer is not None:
        stream = cast("BinaryIO", io.BufferedReader(_DecompressedStream(stream, outer, name), _CHUNK))
    start = _peek(stream)
    if not start:  # do not read again: a terminal would wait for a second end of file
        return io.BytesIO()
    prefix = "" if outer is None else f"compressed with {outer} and contains "
    if (inner := compression(start)) is not None:
        raise UserError(f"{name}: is {prefix}another compressed file ({inner}); decompress it once")
    if (problem := not_text(start)) is not None:
        file_type, advice = problem
        raise UserError(f"{name}: is {prefix}{file_type}, not text in UTF-8; {advice}")
    return stream


class _Peekable(Protocol):
    def peek(self, size: int = 0, /) -> bytes: ...


def _peekable(stream: BinaryIO) -> BinaryIO:
    return stream if hasattr(stream, "peek") else cast("BinaryIO", io.BufferedReader(cast("Any", stream)))


def _peek(stream: BinaryIO) -> bytes:
    return cast("_Peekable", stream).peek(MAGIC_BYTES)[:MAGIC_BYTES]


class _Decompressor(Protocol):
    """The interface of the standard library's decompressors, each for one compressed stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _GzipDecompressor:
    """A decompressor for one member of a gzip file, with the interface `_Decompressor`."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max(0, max_length))


def _zstd_decompressor() -> _Decompressor:
    """Return a zstd decompressor, which is in the standard library since Python 3.14."""
    module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    zstd = importlib.import_module(module)
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return cast("_Decompressor", zstd.ZstdDecompressor(options=options))


_DECOMPRESSORS: Mapping[str, Callable[[], _Decompressor]] = {
    "gzip": _GzipDecompressor,
    "bzip2": cast("Callable[[], _Decompressor]", bz2.BZ2Decompressor),
    "xz": lambda: cast("_Decompressor", lzma.LZMADecompressor(memlimit=_MAX_MEMORY)),
    "zstd": _zstd_decompressor,
}


class _DecompressedStream(io.RawIOBase):
    """The decompressed bytes of all members of a compressed file, one after the other.

    Python's own readers stop without an error after the first member if the next one is damaged.
    """

    def __init__(self, stream: BinaryIO, format_: str, name: str) -> None:
        self._stream = stream
        self._format = format_
        self._name = name
        self._parts = self._decompress()
        self._part = memoryview(b"")
        self._bytes_read = self._bytes_returned = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._part:  # a decompressor may read many bytes before it returns one
            part = next(self._parts, None)
            if part is None:
                return 0
            self._part = memoryview(part)
        count = min(len(buffer), len(self._part))
        buffer[:count], self._part = self._part[:count], self._part[count:]
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _decompress(self) -> Iterator[bytes]:
        """Yield the decompressed bytes of each member, in parts of bounded size."""
        data = self._read_chunk()
        while data:
            decompressor = self._decompressor()
            while not decompressor.eof:
                yield self._decompress_part(decompressor, data)
                data = b""
                if decompressor.needs_input and not decompressor.eof:
                    data = self._read_chunk()
                    if not data:
                        raise self._damaged("it ends too early")
            data = self._next_member(decompressor.unused_data)

    def _decompressor(self) -> _Decompressor:
        try:
            return _DECOMPRESSORS[self._format]()
        except ImportError:
            raise UserError(
                f"{self._name}: is compressed with zstd, which needs the package backports.zstd; install it "
                "(pip install backports.zstd), or decompress the file with `zstd -d`"
            ) from None

    def _decompress_part(self, decompressor: _Decompressor, data: bytes) -> bytes:
        try:
            part = decompressor.decompress(data, _CHUNK)
        except MemoryError:
            raise
        except Exception as error:  # each decompressor raises errors of its own
            if "memory" in str(error).lower():
                raise UserError(
                    f"{self._name}: needs more memory for decompression than is allowed ({self._format}: "
                    f"{error}); compress it with a smaller window or dictionary"
                ) from error
            raise self._damaged(str(error)) from error
        self._bytes_returned += len(part)
        if self._bytes_returned > max(_ALWAYS_ALLOWED, _MAX_RATIO * self._bytes_read):
            raise UserError(
                f"{self._name}: {self._bytes_read:,} bytes of {self._format} decompress to more than "
                f"{self._bytes_returned:,} bytes, too many for text; the file is damaged or malicious: do not"
                " use it"
            )
        return part

    def _read_chunk(self) -> bytes:
        chunk = self._stream.read(_CHUNK)
        self._bytes_read += len(chunk)
        return chunk

    def _next_member(self, rest: bytes) -> bytes:
        """Return the beginning of the next member; zeros between members and at the end are padding."""
        while not (rest := rest.lstrip(b"\0")):
            rest = self._read_chunk()
            if not rest:
                return b""
        if len(rest) < MAGIC_BYTES:  # `rest` may end within the first bytes of a member
            rest += self._read_chunk()
        if compression(rest) != self._format:
            raise self._damaged(f"bytes that are not {self._format} follow")
        return rest

    def _damaged(self, why: str) -> UserError:
        return UserError(
            f"{self._name}: is damaged or cut off ({self._format}: {why}); download or copy it again"
        )
