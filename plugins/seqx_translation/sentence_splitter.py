"""Split text that is too long for a model: into sentences, then between words, then between characters."""
# ruff: noqa: RUF001  the patterns contain quotation marks and full stops of many scripts

import re
from collections.abc import Callable, Sequence

# The end of a sentence: punctuation, closing quotes, and a space before a possible beginning. Chinese and
# Japanese need no space. Punctuation after a space ends a sentence only if it contains "!", "?" or "…" before
# its last character. A match begins at the first character of the punctuation and gives nothing back
# (possessive quantifiers); otherwise the time for a line of "!" would grow with the square of its length.
_END = re.compile(
    r"""(?:
        (?<![.!?…]) (?: (?<!\s) [.!?…]++ | \.*+ [!?…] [.!?…]++ )
        ["'”’»)\]]*+ \s++ (?=["'“„«‚‘(\[¿¡]* [^\W_a-z])
      | [。！？]+ [”’」』）]* \s*
    )""",
    re.VERBOSE,
)
# Initials, ordinals (as in German dates) and titles end in a period that does not end the sentence. "No." is
# an abbreviation only before a number. The last character of a match is the one after the space.
_LONGEST = 40  # characters before the period; only so many are searched
_ABBREVIATION = re.compile(
    r"""(?<![^\s.(\["“„«‚‘¿¡。！？])
        (?: (?: [^\W\d_] | \d+ | Mrs? | Ms | Dr | Prof | St | Nr | vs | bzw | ca | vgl | M | Mme ) \.\s+ .
        | No\.\s+ \d ) $""",
    re.VERBOSE | re.DOTALL,
)


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Split text into parts for which `fits` is true. A single character is a part even if it does not fit.

    Only white space between parts is removed. A text that fits is returned unchanged as one part.
    """
    if fits(text):
        return [text]
    parts: list[str] = []
    for sentence in _sentences(text):
        if fits(sentence):
            parts.append(sentence)
            continue
        for group in _join_groups(sentence.split(), " ", fits):
            parts += [group] if fits(group) else _join_groups(group, "", fits)
    return parts


def _sentences(text: str) -> list[str]:
    sentences, start = [], 0
    for match in _END.finditer(text):
        if _ABBREVIATION.search(text, max(start, match.start() - _LONGEST), match.end() + 1):
            continue
        sentences.append(text[start : match.end()])
        start = match.end()
    sentences.append(text[start:])
    return [sentence.strip() for sentence in sentences if sentence.strip()]


def _join_groups(parts: Sequence[str], separator: str, fits: Callable[[str], bool]) -> list[str]:
    """Join neighbouring parts into as few groups as possible that fit, each with at least one part.

    Group sizes are found by doubling and bisection, so that long texts do not take quadratic time.
    """
    groups, start, guess = [], 0, 1
    while start < len(parts):
        size = min(guess, len(parts) - start)
        low, high = 1, len(parts) - start + 1  # `low` parts fit, or `low` is 1; `high` parts do not fit
        while low + 1 < high:
            size = min(max(size, low + 1), high - 1)
            if fits(separator.join(parts[start : start + size])):
                low, size = size, size * 2 if high > len(parts) - start else (size + high) // 2
            else:
                high, size = size, (low + size) // 2
        groups.append(separator.join(parts[start : start + low]))
        start, guess = start + low, low
    return groups
