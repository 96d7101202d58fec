"""The corpus, the metric and the settings of the task."""

import random

import pytest
import seqx_sample

from seqx_spelling import Characters, Misspelt, Spelling, WordAccuracy
from seqx_spelling.misspelt import misspell


def test_misspell_makes_the_four_errors_and_no_other() -> None:
    letters, word = "abc", "cab"
    found = {misspell(word, letters, random.Random(seed)) for seed in range(2000)}
    removed = {word[:i] + word[i + 1 :] for i in range(3)}
    replaced = {word[:i] + letter + word[i + 1 :] for i in range(3) for letter in letters}
    added = {word[:i] + letter + word[i:] for i in range(3) for letter in letters}
    swapped = {"acb", "cba"}
    assert found == (removed | replaced | added | swapped) - {word}


def test_misspelt_words_come_from_the_text() -> None:
    corpus = Misspelt(text=seqx_sample.Sample(train=20, dev=0, test=0), copies=3, most=10)
    rows = list(corpus.rows("train"))
    assert len(rows) == 30
    text = " ".join(english for english, _ in seqx_sample.Sample(train=20).rows("train")).lower()
    assert all(right in text and len(right) >= 4 and wrong != right for wrong, right in rows)
    assert {right for _, right in corpus.rows("test")} == {right for _, right in rows}


def test_misspelt_splits_are_disjoint() -> None:
    corpus = Misspelt(text=seqx_sample.Sample(train=200, dev=0, test=0))
    train, dev, test = (list(corpus.rows(split)) for split in ("train", "dev", "test"))
    assert len(dev) == len(test) == len(train) / 8
    assert len({*train, *dev, *test}) == len(train) + len(dev) + len(test)


def test_word_accuracy_is_the_percentage_of_correct_words() -> None:
    (score,) = WordAccuracy()(["house", "tree", "ball"], ["house", "trees", "ball"]).values()
    assert score.value == pytest.approx(200 / 3)


def test_spelling_refuses_an_empty_list_of_metrics() -> None:
    with pytest.raises(ValueError, match="metrics is empty"):
        Spelling(corpus=Misspelt(text=seqx_sample.Sample()), tokenizer=Characters(), metrics=[])
