"""Warnings about suspicious rows in the development and test sets. These rows are scored nevertheless."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

from seqx.errors import shortened
from seqx.interfaces.rows import row_texts
from seqx.interfaces.task import Split, Task

T = TypeVar("T")

_ROW_SHARE = 0.01  # minimum share of a split for a warning about a repeated row
_SIDE_SHARE = 0.1  # minimum share of a split for a warning about a repeated source or reference
_MIN_SIDES = 10  # minimum number of repetitions for a warning about a source or reference


def held_out_warnings(task: Task, split: Split) -> list[str]:
    """Return the warnings about a split, one line each."""
    rows = [tuple(map(str.strip, row_texts(row))) for row in split.rows]
    warnings = [*_row_warnings(rows)]
    excluded = len(rows) - len(task.references(split))
    if excluded > 0:
        warnings.append(f"{excluded:,} of {len(rows):,} rows cannot be scored and are skipped")
    return [*(f"{split.name}: {warning}" for warning in warnings), *task.data_warnings(split)]


def empty_text_warnings(texts: Sequence[str], name: str) -> Iterator[str]:
    """Yield a warning if some texts are empty.

    Args:
        texts: the texts
        name: the plural noun for them in the warning, such as "references"
    """
    count = sum(not text.strip() for text in texts)
    if count:
        yield f"{count:,} of {len(texts):,} {name} are empty"


def _row_warnings(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield warnings about empty columns, sources that equal their reference, and repetitions."""
    sides = [*zip(*rows, strict=True)]
    names = ["sources", "references"] if len(sides) == 2 else ["rows"]
    for name, side in zip(names, sides, strict=False):
        yield from empty_text_warnings(side, name)
    if len(sides) > 1:
        copies = sum(row[0] == row[1] != "" for row in rows)
        if copies:
            yield f"{copies:,} of {len(rows):,} sources equal their references"
    repeated = _most_common(rows, minimum=3, share=_ROW_SHARE)
    if repeated:
        yield f"{repeated[1]:,} of {len(rows):,} rows are identical: {_quoted(' / '.join(repeated[0]))}"
        return
    for name, side in zip(names, sides, strict=False) if len(sides) > 1 else ():
        most_common = _most_common(side, minimum=_MIN_SIDES, share=_SIDE_SHARE)
        distinct = len(set(side))
        is_text = distinct == 1 or 50 * distinct > len(side)  # few distinct values are labels, which repeat
        if most_common and most_common[0] and is_text:
            text, count = most_common
            yield f"{count:,} of {len(side):,} {name} are identical: {_quoted(text)}"


def _most_common(values: Sequence[T], *, minimum: int, share: float) -> tuple[T, int] | None:
    """Return the most frequent value and its count; None if it is not frequent enough."""
    value, count = Counter(values).most_common(1)[0] if values else (None, 0)
    return (value, count) if value is not None and count >= max(minimum, share * len(values)) else None


def _quoted(text: str) -> str:
    return repr(shortened(text, 60))
