"""What a derivation is made of: its skeleton (the rules and all choices but the words) and its words."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache

from .words import Adjective, Adverbial, Noun, Preposition, Verb

_WORDS = Noun | Adjective | Verb | Adverbial | Preposition


@cache
def _names(rule: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(rule))


def skeleton(node: object) -> str:
    """The derivation with each word replaced by its part of speech."""
    if isinstance(node, _WORDS):
        return type(node).__name__.lower()
    if is_dataclass(node):
        rule = type(node)
        return f"{rule.__name__}({' '.join(skeleton(getattr(node, name)) for name in _names(rule))})"
    return str(node)


def words(node: object) -> Iterator[str]:
    """The lemmas of a derivation, from the top."""
    if isinstance(node, _WORDS):
        yield node.lemma
    elif is_dataclass(node):
        for name in _names(type(node)):
            yield from words(getattr(node, name))
