"""Plan which examples belong to each update of an epoch.

The plan depends on the seed, the epoch and the lengths of the examples, never on devices or their memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from seqx.data.ragged import Integers

TARGET = "target"
"""The name of the column whose tokens determine the size of an update."""

_UPDATES_PER_POOL = 500  # a pool has this many updates; examples are grouped by length within a pool
_SLABS = 3  # approximate ratio of the number of slabs in a pool to the number of groups in a slab
_LENGTH_BITS = 20  # bits of a sort key that hold the length


@dataclass(frozen=True)
class Plan:
    """The updates of an epoch. Each consists of groups of examples of similar lengths."""

    order: Integers  # [examples] indices of the examples, sorted by group
    groups: Integers  # [groups + 1] index in `order` at which each group begins
    updates: Integers  # [updates + 1] index in `groups` at which each update begins
    lengths: Mapping[str, Integers]  # by column: [examples] number of tokens of each example
    row_lengths: Mapping[str, Integers] | None = None
    """By column: [updates] the length of the rows of an update, each of which holds all examples of a group.

    None: each example has a row of its own.
    """

    def __len__(self) -> int:
        """Return the number of updates."""
        return len(self.updates) - 1

    def example_groups(self, index: int) -> list[Integers]:
        """Return the indices of the examples of an update, group by group."""
        bounds = self.groups[self.updates[index] : self.updates[index + 1] + 1]
        return np.split(self.order[bounds[0] : bounds[-1]], bounds[1:-1] - bounds[0])

    def num_target_tokens(self, index: int) -> int:
        """Return the number of target tokens of an update."""
        return int(self.lengths[TARGET][np.concatenate(self.example_groups(index))].sum())

    @cached_property
    def largest(self) -> int:
        """The index of the update that has the group with the most padded tokens."""
        if self.row_lengths is not None:
            return int(np.argmax(np.diff(self.updates) * sum(self.row_lengths.values())))
        starts, sizes = self.groups[:-1], np.diff(self.groups)
        longest = (np.maximum.reduceat(lengths[self.order], starts) for lengths in self.lengths.values())
        group = int(np.argmax(sum(length * sizes for length in longest)))
        return int(np.searchsorted(self.updates, group, "right")) - 1


def plan(lengths: Mapping[str, Integers], *, tokens: int, groups: int, seed: int, epoch: int) -> Plan:
    """Plan an epoch in which each example occurs once.

    Examples are shuffled. Within pools of many updates they are sorted by length and cut into groups of at
    most `tokens` / `groups` target tokens. The groups are shuffled, and each update takes the next groups. An
    example that is too long for a group is a group by itself, and if necessary an update by itself.

    Args:
        lengths: tokens of each example in each column, "target" among them
        tokens: maximum target tokens per update
        groups: groups per update
        seed: seed of the shuffles
        epoch: counted from 0
    """
    target = lengths[TARGET]
    assert len(target), "no examples"
    bits = np.random.Philox(np.random.SeedSequence([seed % 2**64, epoch]))
    index_dtype = np.uint32 if len(target) < 2**32 else np.uint64
    order: Integers = shuffled(bits, len(target)).astype(index_dtype)
    order = _sort_by_length(order, lengths, tokens, groups)
    ends = np.cumsum(target[order], dtype=np.int64)
    bounds = _cut_into_groups(ends, max(1, tokens // groups))
    mixed = shuffled(bits, len(bounds) - 1)
    counts = np.diff(ends[bounds[1:] - 1], prepend=0)[mixed]
    sizes = np.diff(bounds)[mixed]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    del ends
    source = np.repeat(bounds[:-1][mixed] - starts[:-1], sizes)
    source += np.arange(len(order))
    return Plan(order[source], starts, _group_into_updates(counts, tokens, groups), lengths)


def shuffled(bits: np.random.Philox, count: int) -> Integers:
    """Return the numbers below `count` in random order."""
    # Raw bits are stable; the results of numpy's shuffles may change with its version.
    return np.argsort(bits.random_raw(count), kind="stable")


def _sort_by_length(order: Integers, lengths: Mapping[str, Integers], tokens: int, groups: int) -> Integers:
    """Sort the examples of each pool by length; the sort is stable.

    A pool is cut into slabs of similar target lengths, and each slab is sorted by the length of the other
    columns, so that neighbours are similar in both. Every other pool and slab is sorted in descending order,
    so that neighbours are similar at the boundaries, too.
    """
    target = lengths[TARGET][order].astype(np.int64)
    order = _sort_chunks(order, _chunk_numbers(target, _UPDATES_PER_POOL * tokens), target)
    other_columns = [column for name, column in lengths.items() if name != TARGET]
    if not other_columns:
        return order
    target = lengths[TARGET][order].astype(np.int64)
    groups_per_pool = min(_UPDATES_PER_POOL, -(-int(target.sum()) // tokens)) * groups
    slabs = max(1, round((_SLABS * groups_per_pool) ** 0.5))
    slab = _chunk_numbers(target, max(1, groups_per_pool * tokens // groups // slabs))
    del target
    return _sort_chunks(order, slab, np.maximum.reduce(other_columns)[order].astype(np.int64))


def _chunk_numbers(sizes: NDArray[np.int64], chunk: int) -> NDArray[np.int64]:
    """Cut elements into chunks of total size `chunk`; return the chunk in which each element begins."""
    numbers = np.cumsum(sizes)
    numbers -= sizes
    numbers //= chunk
    return numbers


def _sort_chunks(order: Integers, chunks: NDArray[np.int64], sizes: NDArray[np.int64]) -> Integers:
    """Sort each chunk by size, every other one in descending order; `chunks` and `sizes` are overwritten."""
    top = (1 << _LENGTH_BITS) - 1
    np.minimum(sizes, top, out=sizes)
    is_odd = chunks % 2 == 1
    np.subtract(top, sizes, out=sizes, where=is_odd)
    chunks <<= _LENGTH_BITS
    chunks |= sizes
    return order[np.argsort(chunks, kind="stable")]


def _cut_into_groups(ends: Integers, budget: int) -> Integers:
    """Return the bounds of groups: each group takes the next examples that fit, but at least one."""
    bounds, before = [0], 0
    while bounds[-1] < len(ends):
        after = max(int(ends.searchsorted(before + budget, "right")), bounds[-1] + 1)
        bounds.append(after)
        before = int(ends[after - 1])
    return np.array(bounds)


def _group_into_updates(counts: Integers, tokens: int, groups: int) -> Integers:
    """Return the bounds of updates: each takes the next `groups` groups, or fewer if they exceed `tokens`."""
    bounds, size, total = [0], 0, 0
    for group, count in enumerate(counts.tolist()):
        if size and (size == groups or total + count > tokens):
            bounds.append(group)
            size, total = 0, 0
        size, total = size + 1, total + count
    return np.array([*bounds, len(counts)])
