"""Constraints on the answers to the inputs of a request: an extension of LibreTranslate's API."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from starlette.exceptions import HTTPException

import seqx
from seqx_serve import schemas

_NONE = (
    "no answer that meets prefix, require and forbid: the search found none within the maximum length, or "
    "the vocabulary cannot write one of their characters"
)


def constraints_of(fields: schemas.ConstrainedRequest) -> seqx.Request:
    """Return the constraints of a request, with an empty input.

    Raises:
        HTTPException: a phrase has only spaces, or a text has a control character
    """
    phrases, prefix = {}, fields.prefix or ""
    for name, value in (("require", fields.require), ("forbid", fields.forbid)):
        phrases[name] = (value,) if isinstance(value, str) else tuple(value or ())
        if not all(phrase.strip() for phrase in phrases[name]):
            raise HTTPException(422, f"{name}: a phrase has only spaces; write a word, or leave it out")
    for name, texts in {"prefix": (prefix,), **phrases}.items():
        if any(unicodedata.category(character) == "Cc" for text in texts for character in text):
            raise HTTPException(422, f"{name}: has a control character, such as a line break; remove it")
    return seqx.Request(input="", prefix=prefix, **phrases)


def constrained(lines: Sequence[str], constraints: seqx.Request) -> Sequence[str | seqx.Request]:
    """Return the inputs of a model for some lines, each with the constraints."""
    if not constraints.constrained:
        return lines
    return [replace(constraints, input=line) for line in lines]


def check_single_lines(texts: Sequence[Sequence[str]], constraints: seqx.Request) -> None:
    """Check that each text has one line, if the constraints have a prefix or required phrases.

    Raises:
        HTTPException: a text has several lines
    """
    if not (constraints.prefix or constraints.require):
        return
    for number, text in enumerate(texts, 1):
        lines = [line for line in text if line.strip()]
        if len(lines) > 1:
            raise HTTPException(
                422,
                f"text {number} of q has {len(lines)} lines, but prefix and require apply to each line; "
                "send q as a list with one line in each text",
            )


def unanswered(lines: Sequence[str], nbests: Sequence[seqx.NBest], constraints: seqx.Request) -> list[str]:
    """Return a warning about each line for which no answer meets the constraints.

    Raises:
        HTTPException: no line has an answer
    """
    if not constraints.constrained:
        return []
    asked = [(line, nbest) for line, nbest in zip(lines, nbests, strict=True) if line.strip()]
    reasons = [f"{line[:40]!r} has {_NONE}" for line, nbest in asked if not nbest]
    if reasons and len(reasons) == len(asked):
        raise HTTPException(422, f"{reasons[0]}; change them")
    return reasons
