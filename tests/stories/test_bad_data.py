"""Text that cannot be learnt from: one message, and nothing is left behind."""

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
    """A recipe for text in files, and the files."""
    folder.mkdir()
    splits = ("train", "dev", "test")
    for split in splits:
        for side in ("en", "de"):
            (folder / f"{split}.{side}").write_text("".join(TEXT) * (20 if split == "train" else 1))
    paths = ", ".join(f"{split}: [{folder}/{split}.en, {folder}/{split}.de]" for split in splits)
    text = TINY.replace("{type: sample, train: 300, dev: 6, test: 6}", f"{{type: files, {paths}}}")
    return tiny(text.replace("size: 400", "size: 290"))


def longer(content: bytes) -> bytes:
    return content + b"more\n"


def not_utf8(content: bytes) -> bytes:
    return content[:9] + b"\xff" + content[9:]


def empty(content: bytes) -> bytes:
    return b""


def cut(content: bytes) -> bytes:
    return gzip.compress(content)[:-9]


def missing(content: bytes) -> None:
    return None


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("train.de", longer, "the files of a split must have the same number of lines:"),
        ("dev.en", not_utf8, "dev.en:1: byte 10 of the line is not UTF-8"),
        ("test.de", empty, "test.de: is empty; a file of parallel text needs one line per sentence"),
        ("train.en", missing, "train.en: cannot be read (No such file or directory)"),
        ("train.en.gz", cut, "train.en.gz: is damaged or cut off"),
    ],
)
def test_bad_data_is_one_message_and_leaves_no_files(
    name: str,
    change: Callable[[bytes], bytes | None],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEQX_CACHE", "fresh")
    recipe = corpus(tmp_path / "text")
    file = tmp_path / "text" / name
    plain = file.with_name(name.removesuffix(".gz"))
    good = plain.read_bytes()
    plain.unlink()
    recipe.write_text(recipe.read_text().replace(str(plain), str(file)))
    changed = change(good)
    if changed is not None:
        file.write_bytes(changed)
    said = refused("run", recipe, "training.steps=2").splitlines()
    told_at = [i for i, line in enumerate(said) if told in line]
    assert len(told_at) == 1
    assert all(line.startswith("reading ") for line in said[: told_at[0]])  # progress
    shown = said[told_at[0] + 1 :]  # faults inside a file have no place in the recipe
    assert [line.strip() for line in shown][1:] == ["^"] * (len(shown) > 0)
    left = [path for place in ("runs", "fresh") for path in Path(place).rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {".lock"}

    file.write_bytes(gzip.compress(good) if name.endswith(".gz") else good)
    done("run", recipe, "training.steps=2")
