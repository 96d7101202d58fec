"""The sample as a corpus of a recipe."""

from importlib import resources
from pathlib import Path

import nltk
import pytest

import seqx
from seqx_sample import Sample, corpus


def test_sample_rows_and_sizes(tmp_path: Path) -> None:
    sample = Sample(train=300, dev=7, test=5)
    sample.fetch(tmp_path, lambda *_: None)
    assert not list(tmp_path.iterdir())
    rows = {split: list(sample.rows(split)) for split in ("train", "dev", "test")}
    assert {split: len(each) for split, each in rows.items()} == {"train": 300, "dev": 7, "test": 5}
    assert all(len(row) == 2 for each in rows.values() for row in each)
    assert len({row[0] for each in rows.values() for row in each}) == 312
    assert list(sample.rows("dev")) == rows["dev"]


def test_sample_columns() -> None:
    english = [row[0] for row in Sample(dev=10).rows("dev")]
    rows = list(Sample(dev=10, columns=("tree", "en")).rows("dev"))
    assert [row[1] for row in rows] == english
    assert all(nltk.Tree.fromstring(row[0]).label() == "TOP" for row in rows)


def test_larger_split_does_not_change_the_others() -> None:
    assert list(Sample(train=5, test=9).rows("test")) == list(Sample(train=900, test=9).rows("test"))
    assert list(Sample(train=0).rows("train")) == []


def test_sample_identity_depends_on_the_settings() -> None:
    settings: list[Sample] = [Sample(), Sample(seed=2), Sample(train=5), Sample(columns=("en", "tree"))]
    assert len({repr(each.identity()) for each in settings}) == len(settings)
    assert Sample().identity() == Sample().identity()


def test_sample_rejects_invalid_columns_and_splits() -> None:
    with pytest.raises(ValueError, match="name each column once, of en, de, tree, gist, tense"):
        Sample(columns=())
    with pytest.raises(ValueError, match="name each column once"):
        Sample(columns=("en", "en"))
    with pytest.raises(seqx.UserError, match="the sample has no split 'valid'; it has train, dev, test"):
        list(Sample().rows("valid"))


def test_sample_identity_depends_on_the_lexicon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = Sample().identity()
    for file in resources.files("seqx_sample").iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "nouns.txt").open("a", encoding="utf-8") as nouns:
        nouns.write("\n")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    corpus._grammar.cache_clear()
    assert Sample().identity() != before
    corpus._grammar.cache_clear()
