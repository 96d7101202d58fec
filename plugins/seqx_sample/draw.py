"""Seeded random choices that are the same on every platform, and the words of the lexicon by class."""

import random
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeVar

from .lexicon import lexicon
from .words import Adjective, Adverbial, Frame, Noun, Verb

T = TypeVar("T")


class Draw:
    """Random choices that use `random.Random.random` only, because Python never changes its numbers."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random  # noqa: S311  # no secrets here

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self._random() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Return one of the items, with equal probabilities."""
        return items[int(self._random() * len(items))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """Return one of the keys, with probabilities proportional to the weights."""
        rest = self._random() * sum(weights.values())
        for item, weight in weights.items():
            rest -= weight
            if rest < 0:
                return item
        return item


@cache
def nouns(classes: frozenset[str]) -> tuple[Noun, ...]:
    """Return the nouns of any of the classes."""
    return tuple(noun for noun in lexicon().nouns if noun.classes & classes)


@cache
def adjectives(noun: Noun) -> tuple[Adjective, ...]:
    """Return the adjectives that suit a noun."""
    return tuple(adjective for adjective in lexicon().adjectives if adjective.classes & noun.classes)


@cache
def frames(kinds: str) -> tuple[tuple[Verb, Frame], ...]:
    """Return the verbs with their frames of any of the kinds."""
    return tuple((verb, frame) for verb in lexicon().verbs for frame in verb.frames if frame.kind in kinds)


@cache
def frames_with_subject(noun: Noun, kinds: str) -> tuple[tuple[Verb, Frame], ...]:
    """Return the frames that allow a noun as subject."""
    return tuple((verb, frame) for verb, frame in frames(kinds) if frame.subject & noun.classes)


@cache
def frames_with_object(noun: Noun, kinds: str) -> tuple[tuple[Verb, Frame], ...]:
    """Return the frames with a person as subject that allow a noun as last object."""
    return tuple(
        (verb, frame)
        for verb, frame in frames(kinds)
        if "person" in frame.subject and frame.objects[-1] & noun.classes
    )


@cache
def adverbials(kind: str, use: str | None = None) -> tuple[Adverbial, ...]:
    """Return the adverbials of a kind, optionally of one use."""
    return tuple(
        each for each in lexicon().adverbials if each.kind == kind and (use is None or use in each.uses)
    )
