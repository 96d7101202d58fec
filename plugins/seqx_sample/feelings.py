"""Derive the sentiment of a sentence from the words of its derivation."""

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Literal

from .clauses import Clause
from .lexicon import lines
from .phrases import Common
from .sentences import Sentence
from .words import Adjective, Adverbial, Noun, Verb

Feeling = Literal["positive", "negative", "neutral"]


def feeling(sentence: Sentence) -> Feeling:
    """Return the sentiment: whether positive or negative words prevail; a negation reverses its scope."""
    worth = _worth(sentence)
    return "positive" if worth > 0 else "negative" if worth < 0 else "neutral"


def _worth(part: object) -> int:
    match part:
        case Adjective():
            return _words().get(part.english[0], 0)
        case Verb():
            return _words().get("+".join(filter(None, (part.english, part.particle))), 0)
        case Noun() | Adverbial():
            return 0
        case Clause():
            never = part.frequency is not None and part.frequency.german == "nie"
            return _worth(part.subject) + _worth(part.predicate) * (-1 if part.negated or never else 1)
        case Common():
            return _worth(part.adjective) * (-1 if part.determiner == "no" else 1)
    return sum(_worth(getattr(part, field.name)) for field in (fields(part) if is_dataclass(part) else ()))


@cache
def _words() -> dict[str, int]:
    """Return the sum of 1 for each positive and -1 for each negative word."""
    return {
        word: 1 if sign == "+" else -1
        for sign, *words in (line.split() for line in lines("feelings.txt"))
        for word in words
    }
