"""Derive the sentiment of a sentence from the words of its derivation."""

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Literal

from .clauses import Clause
from .lexicon import lines
from .phrases import Common
from .sentences import Sentence
from .words import Adjective, Adverbial, Noun, Verb

Sentiment = Literal["positive", "negative", "neutral"]


def sentiment(sentence: Sentence) -> Sentiment:
    """Return the sentiment of most of the positive and negative words; negation makes it the opposite."""
    polarity = _polarity(sentence)
    return "positive" if polarity > 0 else "negative" if polarity < 0 else "neutral"


def _polarity(part: object) -> int:
    """Return the number of positive words minus the number of negative words of a part of a derivation."""
    match part:
        case Adjective():
            return _polarities().get(part.english[0], 0)
        case Verb():
            return _polarities().get("+".join(filter(None, (part.english, part.particle))), 0)
        case Noun() | Adverbial():
            return 0
        case Clause():
            never = part.frequency is not None and part.frequency.german == "nie"
            return _polarity(part.subject) + _polarity(part.predicate) * (-1 if part.negated or never else 1)
        case Common():
            return _polarity(part.adjective) * (-1 if part.determiner == "no" else 1)
    return sum(_polarity(getattr(part, field.name)) for field in (fields(part) if is_dataclass(part) else ()))


@cache
def _polarities() -> dict[str, int]:
    """Return 1 for each positive word and -1 for each negative word."""
    return {
        word: 1 if sign == "+" else -1
        for sign, *words in (line.split() for line in lines("sentiment.txt"))
        for word in words
    }
