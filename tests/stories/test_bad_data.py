"""Unusable training text gives one message and leaves no files."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stories.tiny import TINY, done, refused, tiny

TEXT = [
    f"the {animal} sees the {other} .\n"
    for animal in ("dog", "cat", "cow", "pig")
    for other in ("man", "sea")
]


def corpus(folder: Path) -> Path:
    """Write text files and a recipe that reads them."""
    folder.mkdir()
    splits = ("train", "dev", "test")
    for split in splits:
        for side in ("en", "de"):
            (folder / f"{split}.{side}").write_text("".join(TEXT) * (20 if split == "train" else 1))
    paths = ", ".join(f"{split}: [{folder}/{split}.en, {folder}/{split}.de]" for split in splits)
    text = TINY.replace("{type: sample, train: 300, dev: 6, test: 6}", f"{{type: files, {paths}}}")
    return tiny(text.replace("size: 400", "size: 290"))


def with_one_more_line(content: bytes) -> bytes:
    return content + b"more\n"


def not_utf8(content: bytes) -> bytes:
    return content[:9] + b"\xff" + content[9:]


def empty(content: bytes) -> bytes:
    return b""


def truncated_gzip(content: bytes) -> bytes:
    return gzip.compress(content)[:-9]


def missing(content: bytes) -> None:
    return None


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("train.de", with_one_more_line, "the files of a split must have the same number of lines:"),
        ("dev.en", not_utf8, "dev.en:1: byte 10 of the line is not UTF-8"),
        ("test.de", empty, "test.de: is empty; a file of parallel text needs one line per sentence"),
        ("train.en", missing, "train.en: cannot be read (No such file or directory)"),
        ("train.en.gz", truncated_gzip, "train.en.gz: is damaged or cut off"),
    ],
)
def test_unusable_text_gives_one_message_and_leaves_no_files(
    name: str,
    change: Callable[[bytes], bytes | None],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEQX_CACHE", "fresh")
    recipe = corpus(tmp_path / "text")
    file = tmp_path / "text" / name
    plain = file.with_name(name.removesuffix(".gz"))
    original = plain.read_bytes()
    plain.unlink()
    recipe.write_text(recipe.read_text().replace(str(plain), str(file)))
    changed = change(original)
    if changed is not None:
        file.write_bytes(changed)
    message = refused("run", recipe, "training.steps=2").splitlines()
    (index,) = [i for i, line in enumerate(message) if expected in line]
    assert all(line.startswith("reading ") for line in message[:index])  # progress
    excerpt = message[index + 1 :]  # of the recipe; empty if the problem is inside a file
    assert [line.strip() for line in excerpt][1:] == ["^"] * (len(excerpt) > 0)
    files = [path for folder in ("runs", "fresh") for path in Path(folder).rglob("*") if path.is_file()]
    assert {path.name for path in files} <= {".lock"}

    file.write_bytes(gzip.compress(original) if name.endswith(".gz") else original)
    done("run", recipe, "training.steps=2")
