"""Text files are read line by line; errors name file and line."""

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import seqx
from seqx.storage.text_lines import read_standard_input

pytestmark = pytest.mark.promise("compressed-files")


def test_only_a_line_feed_ends_a_text_line(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes("one\r\ntwo\rthree\x0b\n\n zwei\u2028drei\u0085\nlast".encode())
    assert list(seqx.read_lines(file)) == ["one", "two\rthree\x0b", "", " zwei\u2028drei\u0085", "last"]


def test_compressed_text_is_read_like_plain_text(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a", tmp_path / "a.gz"
    plain.write_bytes(b"one\n\ntwo\n")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(seqx.read_lines(plain)) == list(seqx.read_lines(packed)) == ["one", "", "two"]


def test_news_text_with_unusual_separators(data: Callable[[str], Path]) -> None:
    lines = list(seqx.read_lines(data("wmt_news") / "en-de/train.de.gz"))
    assert len(lines) == 24_743
    assert sum(line.count("\u0085") for line in lines) == 10


LINES = [f"{number} {number % 7}" for number in range(40_000)]  # more than one chunk
TEXT = "".join(f"{line}\n" for line in LINES).encode()


def zstd(content: bytes) -> bytes:
    module = pytest.importorskip("backports.zstd")
    return module.compress(
        content, options={module.CompressionParameter.checksum_flag: 1}
    )  # like the command zstd


def tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("text.en")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


PACKERS: list[Callable[[bytes], bytes]] = [
    gzip.compress,
    bz2.compress,
    lzma.compress,
    lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    zstd,
]


@cache
def packed(pack: Callable[[bytes], bytes]) -> bytes:
    """Return the compressed text."""
    return pack(TEXT)


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("name", ["a", "a.gz", "a.en", "a.zip"])
def test_compressed_files_are_recognised_under_any_name(
    pack: Callable[[bytes], bytes], name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(packed(pack))
    assert list(seqx.read_lines(tmp_path / name)) == LINES
    assert list(read_standard_input(io.BytesIO(packed(pack)))) == LINES


def test_plain_text_may_have_the_name_of_a_compressed_file(tmp_path: Path) -> None:
    for name in ("a.gz", "a.xz", "a.zst", "a.bz2"):
        (tmp_path / name).write_bytes(TEXT)
        assert list(seqx.read_lines(tmp_path / name)) == LINES
    for start in (
        "BZh is no text",
        "]",
        "PK",
        "%PD",
        "x" * 257 + "usta",
    ):  # similar to the first bytes of compressed files
        (tmp_path / "b").write_text(start)
        assert list(seqx.read_lines(tmp_path / "b")) == [start]


@pytest.mark.parametrize("pack", [*PACKERS[:3], zstd])
def test_members_of_compressed_files_are_concatenated(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    file = tmp_path / "a"
    middle = TEXT.index(b"\n", len(TEXT) // 2) - 2  # within a line
    file.write_bytes(pack(TEXT[:middle]) + pack(b"") + pack(TEXT[middle:]) + bytes(8))
    assert list(seqx.read_lines(file)) == LINES
    file.write_bytes(pack(TEXT[:middle]) + b"rubbish" + pack(TEXT[middle:]))
    with pytest.raises(
        seqx.UserError, match=r"/a: is damaged or cut off \(.*bytes that are not \w+ follow\)"
    ):
        list(seqx.read_lines(file))


@pytest.mark.parametrize("pack", PACKERS)
def test_truncated_compressed_files_are_reported(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    file, whole = tmp_path / "a", packed(pack)
    for length in (14, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(seqx.UserError, match="/a: is damaged or cut off"):
            list(seqx.read_lines(file))


@pytest.mark.parametrize("pack", [*PACKERS[:3], zstd])
def test_damaged_compressed_files_are_reported(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole = bytearray(packed(pack))
    whole[len(whole) // 2] ^= 0xFF
    (tmp_path / "a").write_bytes(whole)
    with pytest.raises(seqx.UserError, match="/a: is damaged or cut off"):
        list(seqx.read_lines(tmp_path / "a"))


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bz2.compress(b"\n" * (1 << 20)))
    monkeypatch.setattr("seqx.storage.compressed._ALWAYS_ALLOWED", 1 << 19)
    with pytest.raises(seqx.UserError, match=r"/a: .* bytes of bzip2 decompress to more than 589,824 bytes"):
        list(seqx.read_lines(tmp_path / "a"))
    (tmp_path / "a").write_bytes(
        lzma.compress(TEXT, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}])
    )
    with pytest.raises(seqx.UserError, match=r"/a: needs more memory for decompression than is allowed"):
        list(seqx.read_lines(tmp_path / "a"))


def test_zstd_without_its_package_has_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"\x28\xb5\x2f\xfd and so on")
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    with pytest.raises(seqx.UserError, match=r"/a: is compressed with zstd, which needs the package"):
        list(seqx.read_lines(tmp_path / "a"))


@pytest.mark.parametrize(
    ("content", "file_type"),
    [
        (zipped("a.txt", TEXT), "is a zip archive"),
        (zipped("word/document.xml", b"<w>"), "is a Word document"),
        (tar(TEXT), "is a tar archive"),
        (gzip.compress(tar(TEXT)), "is compressed with gzip and contains a tar archive, not text"),
        (
            gzip.compress(gzip.compress(TEXT)),
            "is compressed with gzip and contains another compressed file",
        ),
        (b"%PDF-1.7\n", "is a PDF document"),
        (
            "ein Wort".encode("utf-16"),
            "is text in UTF-16, not text in UTF-8; convert it with `iconv -f UTF-16 ",
        ),
        ("ein Wort".encode("utf-32"), "is text in UTF-32,"),
        ("ein Wort\r\n".encode("utf-16-le"), "is text in UTF-16LE"),
        ("ein Wort\n".encode("utf-16-be"), "is text in UTF-16BE"),
        ("我喜欢猫。\n他在家里。\n".encode("utf-16-le"), "is text in UTF-16LE"),
        ("ein Wort\n".encode("utf-32-le"), "is text in UTF-32LE"),
        ("ein Wort\n".encode("utf-32-be"), "is text in UTF-32BE"),
        (gzip.compress("ein Wort\n".encode("utf-16")), "and contains text in UTF-16"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # archives contain the current time
)
def test_other_file_types_are_named(content: bytes, file_type: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    for source in (seqx.read_lines(tmp_path / "a"), read_standard_input(io.BytesIO(content))):
        with pytest.raises(seqx.UserError) as raised:
            list(source)
        assert file_type in str(raised.value)


def test_empty_files_have_no_lines(tmp_path: Path) -> None:
    for content in (b"", *(pack(b"") for pack in PACKERS)):
        (tmp_path / "a").write_bytes(content)
        assert list(seqx.read_lines(tmp_path / "a")) == list(read_standard_input(io.BytesIO(content))) == []


WHOLE = gzip.compress(b"one\ntwo\n" * 1000, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"one\ntw\xf6\n", r"/a:2: byte 3 of the line is not UTF-8 .*convert"),
        ("a.gz", WHOLE[:-20], r"/a.gz: is damaged or cut off \(.*\); download or copy it again"),
        ("a.gz", WHOLE[:20] + b"\x00\xff\x00" + WHOLE[23:], r"/a.gz: is damaged or cut off"),
    ],
)
def test_invalid_text_is_reported_with_its_position(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(seqx.UserError, match=message):
        list(seqx.read_lines(tmp_path / name))


def test_unreadable_text_files_are_reported(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "nothing.en", f"{tmp_path}/nothing.en: cannot be read .No such file"),
        (tmp_path, f"{tmp_path}: cannot be read .Is a directory"),
    ):
        with pytest.raises(seqx.UserError, match=message):
            list(seqx.read_lines(path))


def test_expand_path_replaces_variables_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT", str(tmp_path / "there"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert seqx.expand_path("${TEXT}/a.en") == tmp_path / "there/a.en"
    assert seqx.expand_path("~/a.en") == tmp_path / "home/a.en"
    assert seqx.expand_path("a.en") == tmp_path / "a.en"
    with pytest.raises(
        seqx.UserError, match=r"^\$\{NOWHERE\}/x: the environment variable NOWHERE is not set; set it to"
    ):
        seqx.expand_path("${NOWHERE}/x")
    with pytest.raises(
        seqx.UserError,
        match=r"^~nobody-of-this-name/x: the home folder ~nobody-of-this-name is unknown; write",
    ):
        seqx.expand_path("~nobody-of-this-name/x")


def test_byte_order_mark_and_carriage_returns_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\n\ufefftwo\r\nthree\r".encode())
    assert list(seqx.read_lines(tmp_path / "a.txt")) == ["one", "\ufefftwo", "three"]
