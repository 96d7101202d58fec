"""Reading text: real lines whole, whatever is wrong named with its place."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

import seqx


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes("one\r\ntwo\rthree\x0b\n\n zwei\u2028drei\u0085\nlast".encode())
    assert list(seqx.lines(file)) == ["one", "two\rthree\x0b", "", " zwei\u2028drei\u0085", "last"]


def test_packed_text_is_the_same_text(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a", tmp_path / "a.gz"
    plain.write_bytes(b"one\n\ntwo\n")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(seqx.lines(plain)) == list(seqx.lines(packed)) == ["one", "", "two"]


def test_real_news_with_its_odd_line_ends(data: Callable[[str], Path]) -> None:
    lines = list(seqx.lines(data("wmt_news") / "en-de/train.de.gz"))
    assert len(lines) == 24_743
    assert sum(line.count("\u0085") for line in lines) == 10


WHOLE = gzip.compress(b"one\ntwo\n" * 1000, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"one\ntw\xf6\n", r"/a:2: byte 3 of the line is not UTF-8 .*convert"),
        ("a.gz", WHOLE[:-20], r"/a.gz: is damaged or cut off \(.*\); fetch it again"),
        ("a.gz", b"no gzip\n", r"/a.gz: is damaged or cut off \(.*\); fetch it again"),
        ("a.gz", WHOLE[:20] + b"\x00\xff\x00" + WHOLE[23:], r"/a.gz: is damaged or cut off"),
    ],
)
def test_what_is_wrong_is_one_message(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(seqx.UserError, match=message):
        list(seqx.lines(tmp_path / name))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "nothing.en", f"{tmp_path}/nothing.en: cannot be read .No such file"),
        (tmp_path, f"{tmp_path}: cannot be read .Is a directory"),
    ):
        with pytest.raises(seqx.UserError, match=message):
            list(seqx.lines(path))


def test_paths_as_users_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT", str(tmp_path / "there"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert seqx.expand("${TEXT}/a.en") == tmp_path / "there/a.en"
    assert seqx.expand("~/a.en") == tmp_path / "home/a.en"
    assert seqx.expand("a.en") == tmp_path / "a.en"
    with pytest.raises(
        seqx.UserError, match=r"^\$\{NOWHERE\}/x: the environment variable NOWHERE is not set; set it to"
    ):
        seqx.expand("${NOWHERE}/x")
    with pytest.raises(
        seqx.UserError, match=r"^~nobody-of-this-name/x: it is not known where ~nobody-of-this-name is; write"
    ):
        seqx.expand("~nobody-of-this-name/x")


def test_marks_of_windows_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\n\ufefftwo\r\nthree\r".encode())
    assert list(seqx.lines(tmp_path / "a.txt")) == ["one", "\ufefftwo", "three"]
