"""Detect kinds of files by their first bytes, and unpack packed files while they are read."""

import bz2
import codecs
import importlib
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol, cast

from seqx.errors import UserError

_LOOKED_AT = 512  # bytes at the beginning of a file
_CHUNK = 1 << 16
_MEMORY = 1 << 28  # bytes that unpacking may take; xz -9 takes 65 MiB
_WINDOW = 27  # logarithm of the largest window of zstd, as of the command zstd
_MUCH = 1 << 30  # bytes
_DENSEST = 2000  # the most bytes of text for one packed byte, beyond `_MUCH`; gzip reaches 1,032

_PACKED = {
    "gzip": (b"\x1f\x8b",),
    "bzip2": tuple(
        b"BZh%d" % level + magic for level in range(1, 10) for magic in (b"1AY&SY", b"\x17rE8P\x90")
    ),
    "xz": (b"\xfd7zXZ\0", b"\x5d\0\0"),  # the second is .lzma, its predecessor
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))),
}
"""The formats that are unpacked, with their first bytes."""

_UNPACK = "unpack it, and name the text file that is in it"
_EXPORT = "save it as plain text in UTF-8"
_NO_TEXT = "name a text file"
_OTHER = (
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "an empty zip archive", _NO_TEXT),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "packed by lz4", "unpack it with `lz4 -d`"),
    (b"\x1f\x9d", "packed by compress", "unpack it with `gzip -d`"),
    (b"%PDF-", "a PDF document", _EXPORT),
    (b"{\\rtf", "an RTF document", _EXPORT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old document of Microsoft Office", _EXPORT),
    (b"SQLite format 3\0", "an SQLite database", _NO_TEXT),
    (b"PAR1", "a Parquet table", _EXPORT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _NO_TEXT),
    (b"\x93NUMPY", "a NumPy array", _NO_TEXT),
    (b"\x80\x02", "a Python pickle", _NO_TEXT),
    (b"\x80\x03", "a Python pickle", _NO_TEXT),
    (b"\x80\x04", "a Python pickle", _NO_TEXT),
    (b"\x80\x05", "a Python pickle", _NO_TEXT),
    (b"\x89PNG\r\n", "a picture (PNG)", _NO_TEXT),
    (b"\xff\xd8\xff", "a picture (JPEG)", _NO_TEXT),
    (b"\x7fELF", "a program", _NO_TEXT),
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS",
        "fetch the file with `git lfs pull`",
    ),
)
"""First bytes of files that are not text, their kind, and the advice."""

_OFFICE = (
    (b"word/", "a Word document"),
    (b"xl/", "an Excel table"),
    (b"opendocument", "an OpenDocument file"),
)

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_WIDE = ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE")


def unpacked(stream: BinaryIO, name: str) -> BinaryIO:
    """Return the text in a stream, unpacked if it begins as a file of gzip, bzip2, xz or zstd.

    Reading it raises a UserError if the packed data is damaged or truncated.

    Args:
        stream: an open file, at its beginning
        name: the name of the file in messages

    Raises:
        UserError: it begins as another kind of file, which the message names
    """
    stream = _peekable(stream)
    kind = _packed_by(_start(stream))
    if kind is not None:
        stream = cast("BinaryIO", io.BufferedReader(_Unpacked(stream, kind, name), _CHUNK))
    start = _start(stream)
    if not start:  # do not read again: a terminal would wait for a second end of file
        return io.BytesIO()
    inside = "" if kind is None else f"packed by {kind} and contains "
    if (again := _packed_by(start)) is not None:
        raise UserError(f"{name}: is {inside}another packed file ({again}); unpack it once")
    if (other := _other(start)) is not None:
        what, advice = other
        raise UserError(f"{name}: is {inside}{what}, not text in UTF-8; {advice}")
    return stream


class _Peekable(Protocol):
    def peek(self, size: int = 0, /) -> bytes: ...


def _peekable(stream: BinaryIO) -> BinaryIO:
    return stream if hasattr(stream, "peek") else cast("BinaryIO", io.BufferedReader(cast("Any", stream)))


def _start(stream: BinaryIO) -> bytes:
    return cast("_Peekable", stream).peek(_LOOKED_AT)[:_LOOKED_AT]


def _packed_by(start: bytes) -> str | None:
    """Return the format of a packed file with these first bytes, or None."""
    return next((kind for kind, magics in _PACKED.items() if start.startswith(magics)), None)


def _other(start: bytes) -> tuple[str, str] | None:
    """Return the kind of a file with these first bytes and the advice; None for text in UTF-8."""
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return f"text in {encoding}", _converted(encoding)
    for magic, what, advice in _OTHER:
        if start.startswith(magic):
            office = (
                next((said for sign, said in _OFFICE if sign in start), None) if magic[:2] == b"PK" else None
            )
            return (office, _EXPORT) if office else (what, advice)
    if start[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    wide = _wide(start)
    return None if wide is None else (f"text in {wide}", _converted(wide))


def _converted(encoding: str) -> str:
    return f"convert it with `iconv -f {encoding} -t UTF-8`"


def _wide(start: bytes) -> str | None:
    """Return UTF-16 or UTF-32 with its byte order for text without a byte order mark, else None."""
    zeros = start.count(0)
    if not zeros or (_is_utf8(start) and 4 * zeros < len(start)):
        return None
    for encoding in _WIDE:
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(start)
        except UnicodeDecodeError:
            continue
        if text and all(char.isprintable() or char in "\t\r\n" for char in text):
            return encoding
    return None


def _is_utf8(start: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True


class _Unpacker(Protocol):
    """The interface of the standard library's decompressors, each for one packed stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _Gzip:
    """One member of a gzip file, with the interface of the other decompressors."""

    def __init__(self) -> None:
        self._own = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._own.eof

    @property
    def needs_input(self) -> bool:
        return not self._own.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._own.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        return self._own.decompress(self._own.unconsumed_tail + data, max(0, max_length))


def _zstd() -> _Unpacker:
    """Start a decompressor of zstd, which Python has from 3.14 on."""
    home = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    zstd = importlib.import_module(home)
    return cast(
        "_Unpacker",
        zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW}),
    )


_UNPACKERS: Mapping[str, Callable[[], _Unpacker]] = {
    "gzip": _Gzip,
    "bzip2": cast("Callable[[], _Unpacker]", bz2.BZ2Decompressor),
    "xz": lambda: cast("_Unpacker", lzma.LZMADecompressor(memlimit=_MEMORY)),
    "zstd": _zstd,
}


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of all members of a packed file, one after the other.

    Python's own readers end silently after the first member if the following bytes are damaged.
    """

    def __init__(self, stream: BinaryIO, kind: str, name: str) -> None:
        self._stream = stream
        self._kind = kind
        self._name = name
        self._parts = self._unpack()
        self._rest = memoryview(b"")
        self._read = self._made = 0  # bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:  # a decompressor may read many bytes before it returns one
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = memoryview(part)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _unpack(self) -> Iterator[bytes]:
        """Yield the unpacked bytes of each member, in parts of bounded size."""
        given = self._more()
        while given:
            try:
                unpacker = _UNPACKERS[self._kind]()
            except ImportError:
                raise UserError(
                    f"{self._name}: is packed by zstd, and the package backports.zstd, which unpacks it, is "
                    "not installed; install it, or unpack the file with `zstd -d`"
                ) from None
            while not unpacker.eof:
                yield self._part(unpacker, given)
                given = b""
                if unpacker.needs_input and not unpacker.eof:
                    given = self._more()
                    if not given:
                        raise self._damaged("it ends too early")
            given = self._behind(unpacker.unused_data)

    def _part(self, unpacker: _Unpacker, given: bytes) -> bytes:
        try:
            part = unpacker.decompress(given, _CHUNK)
        except MemoryError:
            raise
        except Exception as error:  # each decompressor raises errors of its own
            if "memory" in str(error).lower():
                raise UserError(
                    f"{self._name}: unpacking it needs more memory than is allowed ({self._kind}: {error}); "
                    "pack it with a smaller window or dictionary"
                ) from error
            raise self._damaged(str(error)) from error
        self._made += len(part)
        if self._made > max(_MUCH, _DENSEST * self._read):
            raise UserError(
                f"{self._name}: {self._read:,} bytes, packed by {self._kind}, unpack to more than "
                f"{self._made:,}, which text never does; it is damaged, or made to fill a disk; do not use it"
            )
        return part

    def _more(self) -> bytes:
        found = self._stream.read(_CHUNK)
        self._read += len(found)
        return found

    def _behind(self, rest: bytes) -> bytes:
        """Return the beginning of the next member; zeros between members and at the end are padding."""
        while not (rest := rest.lstrip(b"\0")):
            rest = self._more()
            if not rest:
                return b""
        if len(rest) < _LOOKED_AT:  # `rest` may end within the first bytes of a member
            rest += self._more()
        if _packed_by(rest) != self._kind:
            raise self._damaged("other bytes follow")
        return rest

    def _damaged(self, why: str) -> UserError:
        return UserError(f"{self._name}: is damaged or cut off ({self._kind}: {why}); fetch it again")
