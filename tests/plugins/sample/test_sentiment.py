"""The sentiment of sentences."""

from collections import Counter
from functools import cache

import pytest

from seqx_sample import Sample
from seqx_sample.lexicon import lexicon
from seqx_sample.sentiment import _polarities


@cache
def rows() -> list[tuple[str, ...]]:
    """Return the rows, which are not generated when tests are collected."""
    return list(Sample(train=3000, columns=("en", "sentiment")).rows("train"))


@pytest.mark.parametrize(
    ("sentence", "sentiment"),
    [
        ("The singers have dreamed of Anna.", "neutral"),
        ("The polite woman wanted to repair Stefan's truck.", "positive"),
        ("On Saturday she lost the red glove.", "negative"),
        ("The artist has not complained about the secret.", "positive"),
        ("Maria's lazy uncle does not want to lend Julia violins.", "negative"),
        ("The customer that Daniel's teachers were thanking was sick.", "neutral"),  # one of each
    ],
)
def test_sentiment_of_known_sentences(sentence: str, sentiment: str) -> None:
    assert (sentence, sentiment) in rows()


def test_sample_has_enough_sentences_of_each_sentiment() -> None:
    counts = Counter(sentiment for _, sentiment in rows())
    assert counts.keys() == {"positive", "negative", "neutral"}
    assert min(counts.values()) > 400


def test_sentiment_words_are_in_the_lexicon() -> None:
    there = {adjective.english[0] for adjective in lexicon().adjectives}
    there |= {"+".join(filter(None, (verb.english, verb.particle))) for verb in lexicon().verbs}
    assert _polarities().keys() <= there
