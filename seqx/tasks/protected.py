"""Parts of an input that its answers must contain unchanged, such as addresses and tags."""

import re
from collections.abc import Sequence
from typing import Literal

Protected = Literal["url", "xml", "placeholder"]
"""A type of text that an answer must contain unchanged."""

_PATTERNS: dict[Protected, str] = {
    # Punctuation at the end belongs to the sentence, as in "see https://example.org/a."
    "url": r"(?:https?|ftp)://[^\s<>\"]*[^\s<>\".,;:!?')\]}]|www\.[^\s<>\"]*[^\s<>\".,;:!?')\]}]"
    r"|(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+",  # possessive, so that text without "@" takes linear time
    "xml": r"</?[A-Za-z_][^<>]*>|&(?:\w+|#\d+|#x[0-9A-Fa-f]+);",
    "placeholder": r"\$?\{\{?[^{}\s]+\}?\}|%\(\w+\)[sdifr]|%(?:\d+\$)?[sdif]\b",
}


def protected_spans(text: str, kinds: Sequence[Protected]) -> list[str]:
    """Return the protected parts of a text, in their order; a part that occurs twice is listed twice."""
    return re.findall("|".join(_PATTERNS[kind] for kind in kinds), text)
