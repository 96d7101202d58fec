"""Warnings about suspicious text in dev and test, which is scored all the same."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

from seqx.errors import shortened
from seqx.interfaces.text import Task

T = TypeVar("T")

_ROWS = 0.01  # share of a split from which on a repeated row is reported
_SIDES = 0.1  # the same for a repeated source or reference
_FEW = 10  # the fewest repetitions of a source or reference that are reported


def doubts(task: Task, split: str) -> list[str]:
    """Return the warnings about a held-out split, a line each."""
    rows = [tuple(text.strip() for text in row) for row in task.rows(split)]
    said = [*_faults(rows)]
    left_out = len(rows) - len(task.references(split))
    if left_out > 0:
        said.append(f"{left_out:,} of {len(rows):,} rows cannot be scored, and are left out")
    return [*(f"{split}: {what}" for what in said), *task.data_warnings(split)]


def empty(texts: Sequence[str], what: str) -> Iterator[str]:
    """Yield a line with the number of empty texts, if any."""
    count = sum(not text.strip() for text in texts)
    if count:
        yield f"{count:,} of {len(texts):,} {what} are empty"


def _faults(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Count rows with an empty side, with equal sides, and repetitions of one row."""
    sides = [*zip(*rows, strict=True)]
    names = ["sources", "references"] if len(sides) == 2 else ["rows"]
    for name, side in zip(names, sides, strict=False):
        yield from empty(side, name)
    if len(sides) > 1:
        same = sum(row[0] == row[1] != "" for row in rows)
        if same:
            yield f"{same:,} of {len(rows):,} sources equal their references"
    repeated = _most_common(rows, least=3, share=_ROWS)
    if repeated:
        yield f"{repeated[1]:,} of {len(rows):,} rows are identical: {_quoted(' / '.join(repeated[0]))}"
        return
    for name, side in zip(names, sides, strict=False) if len(sides) > 1 else ():
        found = _most_common(side, least=_FEW, share=_SIDES)
        distinct = len(set(side))
        if found and found[0] and (distinct == 1 or 50 * distinct > len(side)):  # otherwise they are labels
            yield f"{found[1]:,} of {len(side):,} {name} are identical: {_quoted(found[0])}"


def _most_common(values: Sequence[T], *, least: int, share: float) -> tuple[T, int] | None:
    """Return the most frequent value and its count; None if it is not frequent enough."""
    value, count = Counter(values).most_common(1)[0] if values else (None, 0)
    return (value, count) if value is not None and count >= max(least, share * len(values)) else None


def _quoted(text: str) -> str:
    return repr(shortened(text, 60))
