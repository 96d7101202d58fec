"""What a derivation is made of: its skeleton (the rules and all choices but the words) and its words."""

from .words import Adjective, Adverbial, Noun, Preposition, Verb

_WORDS = Noun | Adjective | Verb | Adverbial | Preposition


def _fields(node: object) -> tuple[str, ...]:
    """Names of the fields of a rule; none for what is no rule."""
    return tuple(getattr(node, "__dataclass_fields__", ()))


def skeleton(node: object) -> str:
    """The derivation with each word replaced by its part of speech."""
    if isinstance(node, _WORDS):
        return type(node).__name__.lower()
    if not _fields(node):
        return str(node)
    return f"{type(node).__name__}({' '.join(skeleton(getattr(node, name)) for name in _fields(node))})"


def words(node: object) -> list[str]:
    """The lemmas of a derivation, from the top."""
    if isinstance(node, _WORDS):
        return [node.lemma]
    return [word for name in _fields(node) for word in words(getattr(node, name))]
