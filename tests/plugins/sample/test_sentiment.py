"""The sentiment of sentences."""

from collections import Counter

import pytest

from seqx_sample import Sample
from seqx_sample.lexicon import lexicon
from seqx_sample.sentiment import _polarities

ROWS = list(Sample(train=3000, columns=("en", "sentiment")).rows("train"))
KNOWN = {row[0]: row[1] for row in ROWS}


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
    assert KNOWN[sentence] == sentiment


def test_sample_has_enough_sentences_of_each_sentiment() -> None:
    counts = Counter(sentiment for _, sentiment in ROWS)
    assert counts.keys() == {"positive", "negative", "neutral"}
    assert min(counts.values()) > 400


def test_sentiment_words_are_in_the_lexicon() -> None:
    there = {adjective.english[0] for adjective in lexicon().adjectives}
    there |= {"+".join(filter(None, (verb.english, verb.particle))) for verb in lexicon().verbs}
    assert _polarities().keys() <= there
