"""Suggestions for unknown names."""

import difflib
from collections.abc import Iterable

from seqx.errors import shortened

_MAX_LISTED = 12  # names


def hint(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: the most similar known name, or all names if none is similar."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], 1)
    if near:
        nearest = next(n for n in names if n.lower() == near[0])
        return f"; did you mean {shortened(nearest)!r}?"
    if not names:
        return "; there is none"
    listed = ", ".join(map(shortened, names[:_MAX_LISTED])) + (", ..." if len(names) > _MAX_LISTED else "")
    return f"; there {'are' if len(names) > 1 else 'is'} {listed}"
