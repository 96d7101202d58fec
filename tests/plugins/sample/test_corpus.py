"""The sample as a corpus of a recipe."""

import importlib
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import nltk
import pytest

import seqx
import seqx_sample
from seqx_sample import Sample, corpus
from seqx_sample.generate import Split, take
from seqx_sample.lexicon import TABLES


def test_sample_rows_and_sizes(tmp_path: Path) -> None:
    sample = Sample(train=300, dev=7, test=5)
    sample.fetch(tmp_path, lambda *_: None)
    assert not list(tmp_path.iterdir())
    rows = {split: list(sample.rows(split)) for split in ("train", "dev", "test")}
    assert {split: len(each) for split, each in rows.items()} == {"train": 300, "dev": 7, "test": 5}
    assert all(len(row) == 2 for each in rows.values() for row in each)
    assert len({row[0] for each in rows.values() for row in each}) == 312
    assert list(sample.rows("dev")) == rows["dev"]


def test_rows_of_splits_that_are_read_alternately_equal_those_of_separate_passes() -> None:
    """The splits share one pass; the train split is read in part first, and then once more from its start."""
    sample = Sample(train=60, dev=3, test=2, seed=7)
    train = sample.rows("train")
    first = next(train)
    shared: dict[Split, list[tuple[str, ...]]] = {
        "dev": [*sample.rows("dev")],
        "test": [*sample.rows("test")],
        "train": [*sample.rows("train")],
    }
    assert [first, *train] == shared["train"]
    for split, rows in shared.items():
        assert rows == [(pair.english, pair.german) for pair in take(7, split, len(rows))]


def test_sample_columns() -> None:
    english = [row[0] for row in Sample(dev=10).rows("dev")]
    rows = list(Sample(dev=10, columns=("tree", "en")).rows("dev"))
    assert [row[1] for row in rows] == english
    assert all(nltk.Tree.fromstring(row[0]).label() == "TOP" for row in rows)


def test_splits_that_are_too_large_to_keep_have_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = list(Sample(train=40).rows("train"))
    monkeypatch.setattr(corpus, "_MAX_KEPT", 30)
    assert list(Sample(train=40).rows("train")) == kept
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


def edited_identity(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str
) -> Mapping[str, object]:
    """Return the identity of the sample of a copy of the plugin in which one file is edited."""
    package = folder / "edited_sample"
    shutil.copytree(Path(seqx_sample.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (package / name).read_text("utf-8")
    assert text.count(old) == 1
    (package / name).write_text(text.replace(old, new), "utf-8")
    monkeypatch.syspath_prepend(str(folder))
    try:
        identity: Mapping[str, object] = (
            importlib.import_module("edited_sample").Sample(columns=("en", "de", "sentiment")).identity()
        )
    finally:
        for module in [each for each in sys.modules if each.split(".")[0] == "edited_sample"]:
            del sys.modules[module]
    return identity


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("german.py", "Return the definite article.", "Return an article."),
        ("german.py", "# Columns: masculine", "# The columns: masculine"),
        ("german.py", "linked = re.search", "has_e = linked = re.search"),
        ("nouns.txt", "# english", "# English"),
    ],
)
def test_sample_identity_does_not_depend_on_docstrings_comments_and_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str
) -> None:
    identity = Sample(columns=("en", "de", "sentiment")).identity()
    assert edited_identity(tmp_path, monkeypatch, name, old, new) == identity


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("nouns.txt", "dog Hund m Hunde", "dog Köter m Köter"),
        ("sentiment.txt", " delicious", ""),
        ("german.py", '"zu dem": "zum"', '"zu dem": "zu dem"'),
        ("choose_sentences.py", "_fronted: 16", "_fronted: 17"),
        ("generate.py", "bucket == 0", "bucket == 2"),
    ],
)
def test_sample_identity_depends_on_words_and_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str
) -> None:
    identity = Sample(columns=("en", "de", "sentiment")).identity()
    assert edited_identity(tmp_path, monkeypatch, name, old, new) != identity


def test_sample_identity_is_computed_quickly() -> None:
    corpus._grammar_hash.cache_clear()
    start = time.process_time()
    Sample().identity()
    assert time.process_time() - start < 0.5  # 0.03 s on an idle core


def test_sample_identity_covers_all_tables() -> None:
    files = Path(seqx_sample.__file__).parent.glob("*.txt")
    assert {file.name for file in files} == set(TABLES)
