"""The marked parts of the texts in examples of mistakes."""

from collections.abc import Iterable, Iterator

import seqx

_AROUND = 60  # characters that an excerpt shows before and after the first marked part
_MAX = 160  # characters of a marked part in an excerpt


def texts_of(answer: seqx.Answer, mistake: seqx.Mistake) -> dict[str, str]:
    """Return the texts of an answer by the names that marks use."""
    reference = answer.reference if mistake.reference is None else mistake.reference
    return {"input": answer.input, "output": answer.output, "reference": reference}


def marked_parts(text: str, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text, and true for those that are marked; a range inside another is left out."""
    position = 0
    for start, end in sorted(ranges):
        if position <= start < end:
            yield text[position:start], False
            yield text[start:end], True
            position = end
    yield text[position:], False


def excerpts(answer: seqx.Answer, mistake: seqx.Mistake) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """Yield the name and the parts of each text with marks, cut around its first mark."""
    for side, text in texts_of(answer, mistake).items():
        if ranges := sorted(mistake.marks.get(side, ())):
            first, last = ranges[0]
            start, end = max(0, first - _AROUND), min(len(text), min(last, first + _MAX) + _AROUND)
            inside = [(max(a, start) - start, min(b, end) - start) for a, b in ranges if a < end]
            parts = [part for part in marked_parts(text[start:end], inside) if part[0]]
            before, after = ("…" if start else ""), ("…" if end < len(text) else "")
            yield side, [*([(before, False)] if before else []), *parts, *([(after, False)] if after else [])]
