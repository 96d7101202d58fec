"""Split text that is too long for a model: into sentences, then between words, then between characters."""
# ruff: noqa: RUF001  quotation marks and full stops of many scripts are meant

import re
from collections.abc import Callable, Sequence

# The end of a sentence: punctuation, closing quotes, and a space before a possible beginning. Chinese and
# Japanese need no space.
_END = re.compile(
    r"""(?:
        (?<![\s.]) [.!?…]+ ["'”’»)\]]* \s+ (?=["'“„«‚‘(\[¿¡]* [^\W_a-z])
      | [。！？]+ [”’」』）]* \s*
    )""",
    re.VERBOSE,
)
# Initials, ordinals (as in German dates) and titles end in a period that does not end the sentence.
_ABBREVIATION = re.compile(r"(?:^|[\s(.])(?:[^\W\d_]|\d+|Mrs?|Ms|Dr|Prof|St|Nr|No|vs|bzw|ca|vgl|M|Mme)\.\s+$")


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Split text into parts for which `fits` is true; parts of a single character may be longer.

    Only white space between parts is removed. A text that fits is returned unchanged as one part.
    """
    if fits(text):
        return [text]
    parts: list[str] = []
    for sentence in _sentences(text):
        if fits(sentence):
            parts.append(sentence)
            continue
        for group in _joined(sentence.split(), " ", fits):
            parts += [group] if fits(group) else _joined(group, "", fits)
    return parts


def _sentences(text: str) -> list[str]:
    sentences, start = [], 0
    for match in _END.finditer(text):
        if _ABBREVIATION.search(text, start, match.end()):
            continue
        sentences.append(text[start : match.end()])
        start = match.end()
    sentences.append(text[start:])
    return [sentence.strip() for sentence in sentences if sentence.strip()]


def _joined(parts: Sequence[str], glue: str, fits: Callable[[str], bool]) -> list[str]:
    """Join neighbouring parts into as few groups as possible that fit, each with at least one part.

    Group sizes are found by doubling and bisection, so that long texts do not take quadratic time.
    """
    groups, start, guess = [], 0, 1
    while start < len(parts):
        size = min(guess, len(parts) - start)
        low, high = 1, len(parts) - start + 1  # `low` parts fit, or are a single one; `high` parts do not
        while low + 1 < high:
            size = min(max(size, low + 1), high - 1)
            if fits(glue.join(parts[start : start + size])):
                low, size = size, size * 2 if high > len(parts) - start else (size + high) // 2
            else:
                high, size = size, (low + size) // 2
        groups.append(glue.join(parts[start : start + low]))
        start, guess = start + low, low
    return groups
