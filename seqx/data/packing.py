"""Plan rows that hold several examples each, so that the batches of an epoch have few shapes.

Letters in shapes: N examples, C columns, R rows.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqx.data.plan import TARGET, Plan, shuffled
from seqx.data.ragged import Integers

LENGTH, EXAMPLES = 256, 9
"""The shortest rows have `LENGTH` target tokens, or as many as `EXAMPLES` mean examples if that is more.

Rows of fewer examples have more padding. In longer rows, attention compares more tokens with each other.
"""

MAX_LENGTHS = 8
"""The number of row lengths. Each has at most two batch shapes: of full updates, and of the last one."""

ALIGNMENT = 8
"""Row lengths are multiples of this number, which fused kernels need for masks."""


_POOL = 1 << 16  # examples that are packed together
_BLOCK = 512  # rows or examples of about the same size, which are sorted by the ratio of their columns


class _Rows(NamedTuple):
    """Packed rows of one length."""

    lengths: Integers  # [C] tokens of a row in each column
    order: Integers  # examples, sorted by row
    bounds: Integers  # [R + 1] index in `order` at which each row begins


def plan_packed(lengths: Mapping[str, Integers], *, tokens: int, seed: int, epoch: int) -> Plan:
    """Plan an epoch in which each example occurs once, and in which rows hold several examples.

    An update has as many rows of one length as `tokens` target tokens fill. Rows and updates are shuffled.

    Args:
        lengths: tokens of each example in each column, "target" among them
        tokens: maximum target tokens per update
        seed: seed of the shuffles
        epoch: counted from 0
    """
    first = _first_equal(lengths)
    names = [*dict.fromkeys(first.values())]
    sizes = np.stack([lengths[name].astype(np.int64) for name in names])  # [C, N]
    target = names.index(first[TARGET])
    bits = np.random.Philox(np.random.SeedSequence([seed % 2**64, epoch]))
    order = shuffled(bits, sizes.shape[1])
    updates = list[tuple[Integers, _Rows]]()
    for row_lengths, examples in _by_row_length(sizes, order, tokens, target):
        rows = _pack(sizes, examples, row_lengths)
        mixed, count = shuffled(bits, len(rows.bounds) - 1), max(1, tokens // int(row_lengths[target]))
        updates += [(mixed[start : start + count], rows) for start in range(0, len(mixed), count)]
    columns = {name: names.index(other) for name, other in first.items()}
    return _plan(lengths, columns, [updates[i] for i in shuffled(bits, len(updates))])


def _first_equal(lengths: Mapping[str, Integers]) -> dict[str, str]:
    """Return, for each column, the first column whose lengths are the same, such as the source for labels."""
    return {
        name: next(other for other in lengths if np.array_equal(lengths[other], lengths[name]))
        for name in lengths
    }


def _plan(
    lengths: Mapping[str, Integers], columns: Mapping[str, int], updates: list[tuple[Integers, _Rows]]
) -> Plan:
    """Return the plan with these updates, each of some rows.

    Args:
        lengths: tokens of each example in each column
        columns: the index of each column in `_Rows.lengths`
        updates: the numbers of the rows of each update, and the rows
    """
    parts, sizes = list[Integers](), list[Integers]()
    for numbers, rows in updates:
        parts += [rows.order[rows.bounds[row] : rows.bounds[row + 1]] for row in numbers]
        sizes.append(np.diff(rows.bounds)[numbers])
    counts = [len(numbers) for numbers, _ in updates]
    return Plan(
        np.concatenate(parts),
        np.concatenate([[0], np.cumsum(np.concatenate(sizes))]),
        np.concatenate([[0], np.cumsum(counts)]),
        lengths,
        row_lengths={name: np.array([rows.lengths[i] for _, rows in updates]) for name, i in columns.items()},
    )


def _by_row_length(
    sizes: NDArray[np.int64], order: Integers, tokens: int, target: int
) -> Iterator[tuple[NDArray[np.int64], Integers]]:
    """Yield each row length [C], shortest first, with the examples that need it because no shorter one fits.

    The examples keep their order. The lengths of the columns have the ratio of the numbers of tokens in the
    epoch, so that rows are filled equally in all columns.
    """
    ratios = np.maximum(1, sizes.sum(1)) / sizes[target].sum()  # [C]
    wanted = max(LENGTH, EXAMPLES * round(float(sizes[target].mean())))
    shortest = _shortest(ratios, min(wanted, tokens))
    longest = (sizes / ratios[:, None]).max()  # target tokens of rows that hold any example
    factor = max(2.0, (longest / shortest) ** (1 / (MAX_LENGTHS - 1)))
    length = float(shortest)
    while len(order):
        row_lengths = _aligned(ratios * length)
        fits = (sizes[:, order] <= row_lengths[:, None]).all(0)
        if fits.any():
            yield row_lengths, order[fits]
        order = order[~fits]
        length *= factor


def _shortest(ratios: NDArray[np.float64], limit: int) -> int:
    """Return the target tokens of the shortest rows: at most `limit`, and aligned with little waste."""
    most = max(1, limit // ALIGNMENT)
    candidates = [n * ALIGNMENT for n in range(max(1, most * 3 // 4), most + 1)]
    return min(limit, max(candidates, key=lambda length: _useful(ratios, _aligned(ratios * length))))


def _useful(ratios: NDArray[np.float64], row_lengths: NDArray[np.int64]) -> float:
    """Return the fraction of the tokens of a row that are used once one of its columns is full."""
    return float(ratios.sum() / row_lengths.sum() / (ratios / row_lengths).max())


def _aligned(lengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the nearest multiples of ALIGNMENT above 0."""
    return np.maximum(1, np.rint(lengths / ALIGNMENT)).astype(np.int64) * ALIGNMENT


def _pack(sizes: NDArray[np.int64], examples: Integers, row_lengths: NDArray[np.int64]) -> _Rows:
    """Pack examples into rows of one length."""
    row_of = np.full(len(examples), -1)
    rows, waiting = 0, np.arange(0)
    for start in range(0, len(examples), _POOL):
        waiting = np.concatenate([waiting, np.arange(start, min(start + _POOL, len(examples)))])
        last = start + _POOL >= len(examples)
        while len(waiting):
            part = sizes[:, examples[waiting]]
            count = max(1, round((part.sum(1) / row_lengths).max()))
            found = _fill(part, row_lengths, count)
            placed = found >= 0
            used, found[placed] = np.unique(found[placed], return_inverse=True)
            row_of[waiting[placed]] = found[placed] + rows
            rows += len(used)
            waiting = waiting[~placed]
            if not last:
                break
    order = np.argsort(row_of, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=rows))])
    return _Rows(row_lengths, examples[order], bounds)


def _fill(sizes: NDArray[np.int64], row_lengths: NDArray[np.int64], rows: int) -> Integers:
    """Put examples into rows; return the row of each example [N], and -1 if it found none.

    Large examples come first. In each round the largest examples go into the emptiest rows, one into each.
    """
    row_of = np.full(sizes.shape[1], -1)
    free = np.repeat(row_lengths[:, None], rows, 1)  # [C, R]
    waiting: Integers = np.argsort(-(sizes / row_lengths[:, None]).max(0), kind="stable")
    placed = True
    while placed and len(waiting):
        placed, start, postponed = False, 0, list[Integers]()
        smallest = sizes[:, waiting].min(1, keepdims=True)
        while start < len(waiting):
            emptiest = np.argsort(-(free / row_lengths[:, None]).min(0), kind="stable")
            emptiest = emptiest[(free[:, emptiest] >= smallest).all(0)]
            if not len(emptiest):
                postponed.append(waiting[start:])
                break
            chunk = waiting[start : start + len(emptiest)]
            start += len(chunk)
            into = _by_ratio(free, emptiest[: len(chunk)], row_lengths)
            chunk = _by_ratio(sizes, chunk, row_lengths)
            fits = (sizes[:, chunk] <= free[:, into]).all(0)
            row_of[chunk[fits]] = into[fits]
            free[:, into[fits]] -= sizes[:, chunk[fits]]
            placed |= bool(fits.any())
            postponed.append(chunk[~fits])
        waiting = np.concatenate(postponed) if postponed else waiting[:0]
        waiting = waiting[np.argsort(-(sizes[:, waiting] / row_lengths[:, None]).max(0), kind="stable")]
    return row_of


def _by_ratio(sizes: NDArray[np.int64], chosen: Integers, row_lengths: NDArray[np.int64]) -> Integers:
    """Sort each block of the chosen columns of `sizes` by the difference of the first and the last row."""
    relative = sizes[:, chosen] / row_lengths[:, None]
    return chosen[np.lexsort((relative[0] - relative[-1], np.arange(len(chosen)) // _BLOCK))]
