"""Which errors are made, and how answers are judged."""

import random

import pytest
import seqx_sample

from seqx_spelling import Characters, Misspelt, Spelling, WordAccuracy
from seqx_spelling.misspelt import misspell


def test_every_kind_of_error_and_no_other() -> None:
    letters, word = "abc", "cab"
    found = {misspell(word, letters, random.Random(seed)) for seed in range(2000)}
    removed = {word[:i] + word[i + 1 :] for i in range(3)}
    replaced = {word[:i] + letter + word[i + 1 :] for i in range(3) for letter in letters}
    added = {word[:i] + letter + word[i:] for i in range(3) for letter in letters}
    swapped = {"acb", "cba"}
    assert found == (removed | replaced | added | swapped) - {word}


def test_words_are_those_of_the_text() -> None:
    corpus = Misspelt(text=seqx_sample.Sample(train=20, dev=0, test=0), copies=3, most=10)
    rows = list(corpus.rows("train"))
    assert len(rows) == 30
    text = " ".join(english for english, _ in seqx_sample.Sample(train=20).rows("train")).lower()
    assert all(right in text and len(right) >= 4 and wrong != right for wrong, right in rows)
    assert {right for _, right in corpus.rows("test")} == {right for _, right in rows}


def test_nothing_is_tested_that_was_trained_on() -> None:
    corpus = Misspelt(text=seqx_sample.Sample(train=200, dev=0, test=0))
    train, dev, test = (list(corpus.rows(split)) for split in ("train", "dev", "test"))
    assert len(dev) == len(test) == len(train) / 8
    assert len({*train, *dev, *test}) == len(train) + len(dev) + len(test)


def test_accuracy() -> None:
    (score,) = WordAccuracy()(["house", "tree", "ball"], ["house", "trees", "ball"]).values()
    assert score.value == pytest.approx(200 / 3)


def test_no_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="metrics is empty"):
        Spelling(corpus=Misspelt(text=seqx_sample.Sample()), tokenizer=Characters(), metrics=[])
