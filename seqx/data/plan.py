"""Which examples each update of an epoch is made of.

An update is what one step of the optimizer learns from. Its examples depend on the seed, the epoch and its
index alone, never on devices or their memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]

TARGET = "target"
"""The column whose tokens are counted."""

_POOL = 500  # updates among whose examples those of similar lengths are sought
_SLABS = 3  # stretches of target lengths for each stretch of source lengths, in a pool
_BITS = 20  # of a length, in the keys that are sorted by


@dataclass(frozen=True)
class Plan:
    """The updates of an epoch: each is some groups of examples of similar lengths."""

    order: Integers  # [examples] their numbers, group by group
    groups: Integers  # [groups + 1] where each begins in `order`
    updates: Integers  # [updates + 1] where each begins in `groups`
    lengths: Mapping[str, Integers]  # [examples] tokens in each column, by the example's number

    def __len__(self) -> int:
        """The number of updates."""
        return len(self.updates) - 1

    def rows(self, index: int) -> list[Integers]:
        """The examples of an update, group by group."""
        bounds = self.groups[self.updates[index] : self.updates[index + 1] + 1]
        return np.split(self.order[bounds[0] : bounds[-1]], bounds[1:-1] - bounds[0])

    def count(self, index: int) -> int:
        """The target tokens of an update."""
        return int(self.lengths[TARGET][np.concatenate(self.rows(index))].sum())

    @cached_property
    def largest(self) -> int:
        """The update that has the group with the most places, padding included."""
        starts, sizes = self.groups[:-1], np.diff(self.groups)
        tops = (np.maximum.reduceat(lengths[self.order], starts) for lengths in self.lengths.values())
        group = int(np.argmax(sum(top * sizes for top in tops)))
        return int(np.searchsorted(self.updates, group, "right")) - 1


def plan(lengths: Mapping[str, Integers], *, tokens: int, groups: int, seed: int, epoch: int) -> Plan:
    """Plan an epoch in which each example occurs once.

    Examples are shuffled; within pools of many updates they are sorted by length and cut into groups
    of at most `tokens` / `groups` target tokens; the groups are shuffled, and each update takes the next
    ones. An example longer than a group makes a group, and if need be an update, of its own.

    Args:
        lengths: tokens of each example in each column, "target" among them
        tokens: the most target tokens of an update
        groups: groups of an update
        seed: of the shuffles
        epoch: counted from 0
    """
    target = lengths[TARGET]
    assert len(target), "no examples"
    # Raw bits are the same for ever; numpy's own shuffles may change with its version.
    bits = np.random.Philox(np.random.SeedSequence([seed % 2**64, epoch]))
    small = np.uint32 if len(target) < 2**32 else np.uint64
    order: Integers = np.argsort(bits.random_raw(len(target)), kind="stable").astype(small)
    order = _by_length(order, lengths, tokens, groups)
    ends = np.cumsum(target[order], dtype=np.int64)
    bounds = _cut(ends, max(1, tokens // groups))
    shuffled = np.argsort(bits.random_raw(len(bounds) - 1), kind="stable")
    counts = np.diff(ends[bounds[1:] - 1], prepend=0)[shuffled]
    sizes = np.diff(bounds)[shuffled]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    del ends
    places = np.repeat(bounds[:-1][shuffled] - starts[:-1], sizes)
    places += np.arange(len(order))
    return Plan(order[places], starts, _deal(counts, tokens, groups), lengths)


def _by_length(order: Integers, lengths: Mapping[str, Integers], tokens: int, groups: int) -> Integers:
    """Sorted by length within each pool; ties stay as they are.

    A pool is cut into slabs of similar target lengths, and each slab sorted by the other columns' length,
    so that neighbours are similar in both. Every other pool and slab is sorted downwards: neighbours are
    similar even where one ends.
    """
    target = lengths[TARGET][order].astype(np.int64)
    order = _sorted(order, _stretches(target, _POOL * tokens), target)
    others = [column for name, column in lengths.items() if name != TARGET]
    if not others:
        return order
    target = lengths[TARGET][order].astype(np.int64)
    in_a_pool = min(_POOL, -(-int(target.sum()) // tokens)) * groups
    slabs = max(1, round((_SLABS * in_a_pool) ** 0.5))
    slab = _stretches(target, max(1, in_a_pool * tokens // groups // slabs))
    del target
    return _sorted(order, slab, np.maximum.reduce(others)[order].astype(np.int64))


def _stretches(sizes: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The number of the stretch that each begins in, where stretches are so long."""
    found = np.cumsum(sizes)
    found -= sizes
    found //= most
    return found


def _sorted(order: Integers, stretches: NDArray[np.int64], sizes: NDArray[np.int64]) -> Integers:
    """Each stretch sorted by size, every other one downwards; both arrays are used up."""
    top = (1 << _BITS) - 1
    np.minimum(sizes, top, out=sizes)
    odd = stretches % 2 == 1
    np.subtract(top, sizes, out=sizes, where=odd)
    stretches <<= _BITS
    stretches |= sizes
    return order[np.argsort(stretches, kind="stable")]


def _cut(ends: Integers, budget: int) -> Integers:
    """Where groups begin, and the end: as many of the next examples as fit, at least one."""
    bounds, before = [0], 0
    while bounds[-1] < len(ends):
        after = max(int(ends.searchsorted(before + budget, "right")), bounds[-1] + 1)
        bounds.append(after)
        before = int(ends[after - 1])
    return np.array(bounds)


def _deal(counts: Integers, tokens: int, groups: int) -> Integers:
    """Where updates begin among the groups, and the end: the next `groups`, or what fits into `tokens`."""
    bounds, size, total = [0], 0, 0
    for group, count in enumerate(counts.tolist()):
        if size and (size == groups or total + count > tokens):
            bounds.append(group)
            size, total = 0, 0
        size, total = size + 1, total + count
    return np.array([*bounds, len(counts)])
