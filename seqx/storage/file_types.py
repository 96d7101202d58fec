"""Detect the types of files by their first bytes."""

import codecs

MAGIC_BYTES = 512
"""Number of bytes at the beginning of a file that the functions of this module read."""

_COMPRESSED = {
    "gzip": (b"\x1f\x8b",),
    "bzip2": tuple(
        b"BZh%d" % level + magic for level in range(1, 10) for magic in (b"1AY&SY", b"\x17rE8P\x90")
    ),
    "xz": (b"\xfd7zXZ\0", b"\x5d\0\0"),  # the second is .lzma, its predecessor
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))),
}
"""The compression formats that seqx reads, with their first bytes."""

_EXTRACT = "extract it, and name the text file in it"
_EXPORT = "save it as plain text in UTF-8"
_NAME_TEXT = "name a text file"
_NOT_TEXT = (
    (b"PK\x03\x04", "a zip archive", _EXTRACT),
    (b"PK\x05\x06", "an empty zip archive", _NAME_TEXT),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _EXTRACT),
    (b"Rar!\x1a\x07", "a RAR archive", _EXTRACT),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it with `lz4 -d`"),
    (b"\x1f\x9d", "compressed with compress", "decompress it with `gzip -d`"),
    (b"%PDF-", "a PDF document", _EXPORT),
    (b"{\\rtf", "an RTF document", _EXPORT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Microsoft Office document", _EXPORT),
    (b"SQLite format 3\0", "an SQLite database", _NAME_TEXT),
    (b"PAR1", "a Parquet table", _EXPORT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _NAME_TEXT),
    (b"\x93NUMPY", "a NumPy array", _NAME_TEXT),
    (b"\x80\x02", "a Python pickle", _NAME_TEXT),
    (b"\x80\x03", "a Python pickle", _NAME_TEXT),
    (b"\x80\x04", "a Python pickle", _NAME_TEXT),
    (b"\x80\x05", "a Python pickle", _NAME_TEXT),
    (b"\x89PNG\r\n", "a PNG image", _NAME_TEXT),
    (b"\xff\xd8\xff", "a JPEG image", _NAME_TEXT),
    (b"\x7fELF", "a program", _NAME_TEXT),
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer",
        "fetch the file with `git lfs pull`",
    ),
)
"""First bytes of files that are not text, with the file type and the advice."""

_OFFICE = (
    (b"word/", "a Word document"),
    (b"xl/", "an Excel table"),
    (b"opendocument", "an OpenDocument file"),
)
"""Names in zip archives that identify documents."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_WIDE_ENCODINGS = ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE")


def compression(start: bytes) -> str | None:
    """Return the compression format of a file with these first bytes, or None."""
    return next((name for name, magics in _COMPRESSED.items() if start.startswith(magics)), None)


def not_text(start: bytes) -> tuple[str, str] | None:
    """Return the type of a file with these first bytes, and advice; None for text in UTF-8."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return f"text in {encoding}", _conversion(encoding)
    for magic, file_type, advice in _NOT_TEXT:
        if start.startswith(magic):
            office = next((name for mark, name in _OFFICE if mark in start), None)
            return (office, _EXPORT) if office and magic.startswith(b"PK") else (file_type, advice)
    if start[257:262] == b"ustar":
        return "a tar archive", _EXTRACT
    wide = _wide_encoding(start)
    return None if wide is None else (f"text in {wide}", _conversion(wide))


def _conversion(encoding: str) -> str:
    return f"convert it with `iconv -f {encoding} -t UTF-8`"


def _wide_encoding(start: bytes) -> str | None:
    """Return UTF-16 or UTF-32 with its byte order for text without a byte order mark, else None."""
    zeros = start.count(0)
    if not zeros or (_is_utf8(start) and 4 * zeros < len(start)):
        return None
    for encoding in _WIDE_ENCODINGS:
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
