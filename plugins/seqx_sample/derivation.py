"""The two parts of a derivation: its skeleton (the rules without the words) and its words."""

from .words import Adjective, Adverbial, Noun, Preposition, Verb

_WORDS = Noun | Adjective | Verb | Adverbial | Preposition


def _fields(node: object) -> tuple[str, ...]:
    """Return the names of a rule's fields; empty for anything else."""
    return tuple(getattr(node, "__dataclass_fields__", ()))


def skeleton(node: object) -> str:
    """Return the derivation with each word replaced by its part of speech."""
    if isinstance(node, _WORDS):
        return type(node).__name__.lower()
    if not _fields(node):
        return str(node)
    return f"{type(node).__name__}({' '.join(skeleton(getattr(node, name)) for name in _fields(node))})"


def words(node: object) -> list[str]:
    """Return the lemmas of a derivation, top-down."""
    if isinstance(node, _WORDS):
        return [node.lemma]
    return [word for name in _fields(node) for word in words(getattr(node, name))]
