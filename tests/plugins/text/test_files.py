"""Parallel text files, also real and damaged ones."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

import seqx
from seqx_text import Files


def ignore_progress(activity: str, fraction: float | None) -> None:
    pass


def write(folder: Path, **files: bytes) -> Files:
    """Return a corpus whose splits are all the same files, by default `a` and `b`."""
    contents = {"a": b"one\ntwo\n", "b": b"eins\nzwei\n"} | files
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    pair = [str(folder / "a"), str(folder / "b")]
    return Files(train=pair, dev=pair, test=pair)


def test_files_rows_are_parallel_lines(tmp_path: Path) -> None:
    corpus = write(tmp_path, a=b"one\r\ntwo\rthree\x0b\n\n", b="eins\nzwei\u2028drei\u0085\n ende".encode())
    corpus.fetch(tmp_path, ignore_progress)
    assert list(corpus.rows("train")) == [
        ("one", "eins"),
        ("two\rthree\x0b", "zwei\u2028drei\u0085"),
        ("", " ende"),
    ]


def test_files_count_their_rows_while_they_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqx_text.files.REPORTED", 2)
    corpus = write(tmp_path, a=b"1\n2\n3\n4\n5\n", b=b"1\n2\n3\n4\n5\n")
    assert corpus.num_rows("train") is None
    reports: list[str] = []
    corpus.fetch(tmp_path, lambda text, _: reports.append(text.rpartition(": ")[2]), ["train"])
    assert reports[1:] == ["2 rows", "4 rows"] * 2
    assert corpus.num_rows("train") == 5
    limited = Files(train=corpus.train, limit=3)
    limited.fetch(tmp_path, ignore_progress)
    assert limited.num_rows("train") == 3


def test_files_read_real_news_with_unusual_line_ends(data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = data("wmt_news") / "en-de"

    def pair(name: str) -> list[str]:
        return [str(folder / f"{name}.{lang}.gz") for lang in ("en", "de")]

    corpus = Files(train=pair("train"), dev=pair("newstest2013"), test=pair("newstest2014"))
    corpus.fetch(tmp_path, ignore_progress)
    rows = list(corpus.rows("train"))
    assert len(rows) == 24_743
    assert sum(de.count("\u0085") for _, de in rows) == 10
    assert [len(list(corpus.rows(split))) for split in ("dev", "test")] == [3000, 3003]


def test_files_reads_several_lists_of_paths_up_to_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"1.x": "1\n2\n", "2.x": "3\n", "1.y": "a\nb\n", "2.y": "c\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("TEXT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    paths = [["1.x", "1.y"], ["${TEXT}/2.x", "${TEXT}/2.y"]]
    corpus = Files(train=paths, dev=["1.x", "1.y"], test=paths, limit=2)
    corpus.fetch(tmp_path, ignore_progress)
    assert list(corpus.rows("test")) == [("1", "a"), ("2", "b"), ("3", "c")]
    assert list(corpus.rows("train")) == [("1", "a"), ("2", "b")]


def test_files_fetch_reads_only_the_requested_splits(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n")
    missing, existing = [str(tmp_path / "nothing")], [str(tmp_path / "a")]
    corpus = Files(train=missing, dev=existing, test=existing)
    steps: list[str] = []
    for _ in range(2):
        corpus.fetch(tmp_path, lambda what, _: steps.append(what), splits=("test",))
    assert steps == [f"reading test: {tmp_path}/a"]
    assert list(corpus.rows("test")) == [("one",)]
    with pytest.raises(AssertionError, match="fetch comes first"):
        corpus.identity()
    with pytest.raises(seqx.UserError, match="nothing: cannot be read"):
        corpus.fetch(tmp_path, ignore_progress)


def test_files_identity_depends_on_text_not_path(tmp_path: Path) -> None:
    identities = []
    for name, packed, text in (("p", False, b"x\n"), ("q", True, b"x\n"), ("r", False, b"y\n")):
        (tmp_path / name).mkdir()
        path = tmp_path / name / ("a.gz" if packed else "a")
        path.write_bytes(gzip.compress(text) if packed else text)
        corpus = Files(train=[str(path)], dev=[str(path)], test=[str(path)])
        corpus.fetch(tmp_path, ignore_progress)
        identities.append(corpus.identity())
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"one\n", r"the same number of lines: .*/a has 1, .*/b has 2"),
        ("a", b"one\ntw\xf6\n", r"/a:2: byte 3 of the line is not UTF-8"),
        ("a", b"", "/a: is empty"),
        ("a.gz", gzip.compress(b"one\ntwo\n", mtime=0)[:-9], r"/a.gz: is damaged or cut off"),
    ],
)
def test_files_report_a_problem_in_one_message(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    write(tmp_path, **{name: content})
    pair = [str(tmp_path / name), str(tmp_path / "b")]
    corpus = Files(train=pair, dev=pair, test=pair)
    with pytest.raises(seqx.UserError, match=message):
        corpus.fetch(tmp_path, ignore_progress)


def test_files_name_missing_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOWHERE", raising=False)
    for path, message in (
        ("nothing.en", f"{tmp_path}/nothing.en: cannot be read .No such file"),
        (str(tmp_path), f"{tmp_path}: cannot be read .Is a directory"),
        ("/dev/null", "^/dev/null: is not a regular file, but its text is read more than once; copy it"),
        ("${NOWHERE}/x", "^\\$\\{NOWHERE\\}/x: the environment variable NOWHERE is not set"),
    ):
        with pytest.raises(seqx.UserError, match=message):
            Files(train=[path], dev=[path], test=[path]).fetch(tmp_path, ignore_progress)


def test_files_reject_splits_of_different_widths() -> None:
    with pytest.raises(ValueError, match=r"train\[0\]': 2.*test\[0\]': 1"):
        Files(train=["a", "b"], dev=["a", "b"], test=["a"])
    with pytest.raises(ValueError, match="the same number of paths, one for each column"):
        Files(train=[list[str]()])
