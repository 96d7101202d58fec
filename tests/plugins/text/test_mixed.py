"""Several corpora as one."""

from pathlib import Path

import pytest

import seqx
from seqx_sample import Sample
from seqx_text import Files, Mixed


def quiet(what: str, share: float | None) -> None: ...


def write(folder: Path, *columns: str) -> Files:
    """A corpus that has nothing but rows to train on."""
    files = [folder / f"column{number}" for number in range(len(columns))]
    for file, text in zip(files, columns, strict=True):
        file.write_text(text)
    return Files(train=[str(file) for file in files])


def test_one_after_the_other_and_judged_by_the_first(tmp_path: Path) -> None:
    first, second = Sample(train=3, dev=2, test=2), write(tmp_path, "one\ntwo\n", "eins\nzwei\n")
    mixed = Mixed(corpora=[first, second])
    mixed.fetch(tmp_path, quiet)
    assert list(mixed.rows("train")) == [*first.rows("train"), ("one", "eins"), ("two", "zwei")]
    for split in ("dev", "test"):
        assert list(mixed.rows(split)) == list(first.rows(split))


def test_identity_is_that_of_each_in_its_place(tmp_path: Path) -> None:
    corpora = [Sample(train=3), Sample(train=3, seed=2)]
    identities = [Mixed(corpora=corpora[::step]).identity() for step in (1, 1, -1)]
    assert identities[0] == identities[1] != identities[2]
    second = write(tmp_path, "one\n", "eins\n")
    found = []
    for text in ("one\n", "uno\n"):
        (tmp_path / "column0").write_text(text)
        mixed = Mixed(corpora=[corpora[0], Files(train=second.train)])
        mixed.fetch(tmp_path, quiet)
        found.append(mixed.identity())
    assert found[0] != found[1]


def test_what_is_judged_by_needs_no_other_corpus(tmp_path: Path) -> None:
    mixed = Mixed(corpora=[Sample(train=3, dev=2, test=2), Files(train=["nothing"])])
    mixed.fetch(tmp_path, quiet, ("test",))
    assert len(list(mixed.rows("test"))) == 2


def test_what_cannot_be_mixed_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no corpora to mix"):
        Mixed(corpora=[])
    with pytest.raises(seqx.UserError, match=r"corpora\.1 has no rows to learn from"):
        Mixed(corpora=[Sample(train=3), Sample(train=0)]).fetch(tmp_path, quiet)
    with pytest.raises(seqx.UserError, match=r"as many columns as the first, found \[2, 1\]"):
        Mixed(corpora=[Sample(train=3), write(tmp_path, "one\n")]).fetch(tmp_path, quiet)
    with pytest.raises(seqx.UserError, match="no text for train"):
        Mixed(corpora=[Sample(train=3), Files()]).fetch(tmp_path, quiet)
    with pytest.raises(seqx.UserError, match="nothing: cannot be read"):
        Mixed(corpora=[Files(train=["nothing"])]).fetch(tmp_path, quiet)
