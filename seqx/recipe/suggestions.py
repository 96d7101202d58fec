"""Suggestions for unknown names."""

import difflib
from collections.abc import Iterable

from seqx.errors import shortened

_MAX_LISTED = 12  # names


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the most similar known name; None if none is similar."""
    names = {each.lower(): each for each in reversed([*known])}
    near = difflib.get_close_matches(name.lower(), names, 1)
    return names[near[0]] if near else None


def hint(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: the most similar known name, or all names if none is similar."""
    names = list(known)
    if near := nearest(name, names):
        return f"; did you mean {shortened(near)!r}?"
    if not names:
        return "; there is none"
    listed = ", ".join(map(shortened, names[:_MAX_LISTED])) + (", ..." if len(names) > _MAX_LISTED else "")
    return f"; there {'are' if len(names) > 1 else 'is'} {listed}"
