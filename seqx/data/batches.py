"""The batches of each update, as padded tensors."""

import random
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import tee
from typing import NamedTuple

import numpy as np
import torch

from seqx.data.loader import Microbatch, Position, UpdateBatch
from seqx.data.packed_rows import packed_update
from seqx.data.packing import plan_packed
from seqx.data.plan import TARGET, Plan, plan
from seqx.data.processes import map_in_processes
from seqx.data.ragged import Integers, Ragged, compact
from seqx.data.store import Store
from seqx.interfaces.task import Task
from seqx.interfaces.tensors import WORDS, Batch, Column
from seqx.runtime.background import in_thread


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The columns of examples: the stored ones, or with new segmentations in each epoch.

    It can be pickled, so that other processes can encode examples.

    Args:
        store: the examples
        seed: seed of the segmentations
        task: encodes the text of each example again; None: use the stored tokens
    """

    store: Store
    seed: int
    task: Task | None

    def columns(self, rows: Integers, epoch: int) -> dict[str, Ragged]:
        """Return the columns of the examples with the indices `rows`; they depend on seed and epoch alone."""
        if self.task is None:
            return _take(self.store.columns, rows)
        encoded = [
            self.task.encode(self.store.text(row), random.Random(f"{self.seed} {epoch} {row}"))  # noqa: S311
            for row in map(int, rows)
        ]
        return {
            name: compact(Ragged.of_rows([example[name] for example in encoded]))
            for name in self.store.columns
        }

    def of_update(self, update: "PlannedUpdate") -> list[dict[str, Ragged]]:
        """Return the columns of each group of an update; an empty list if its rows are packed.

        With several ranks, each encodes all examples of the update: `split_into_microbatches` divides them by
        their lengths in this epoch, so a rank cannot know its own examples before.
        """
        return [self.columns(group, update.position.epoch) for group in update.groups]


class PlannedUpdate(NamedTuple):
    """The indices of the examples of an update, group by group."""

    position: Position
    groups: list[Integers]  # empty if rows are packed
    packed: Plan | None = None  # the plan of an update with packed rows


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The batches of all updates, which depend only on the examples, the settings, the seed and the position.

    Args:
        store: the examples
        tokens: target tokens per update, over all ranks and microbatches
        groups: number of groups per update; the examples of a group have similar lengths
        seed: seed of the order of the examples
        microbatch: maximum padded tokens per microbatch, as rows times the longest row; None: each group is a
            microbatch
        rank: rank of this process among those that share each update
        world_size: number of ranks that share each update
        task: encodes each example again in each epoch (subword regularisation); None: use the stored tokens
        processes: number of other processes that encode examples again; the batches do not depend on it
        packed: put several examples into each row (see `packing`); `groups` has no effect then, and `task`
            must be None
    """

    store: Store
    tokens: int
    groups: int = 1
    seed: int = 1
    microbatch: int | None = None
    rank: int = 0
    world_size: int = 1
    task: Task | None = None
    processes: int = 0
    packed: bool = False
    _plans: dict[int, Plan] = field(init=False, repr=False, compare=False, default_factory=dict)
    plan_lock: threading.Lock = field(init=False, repr=False, compare=False, default_factory=threading.Lock)
    """Locked while an epoch is being planned, which takes half a minute for tens of millions of rows."""

    @property
    def _examples(self) -> Examples:
        return Examples(store=self.store, seed=self.seed, task=self.task)

    def plan(self, epoch: int) -> Plan:
        """Return the plan of an epoch; only the most recent plan is cached."""
        with self.plan_lock:
            if epoch not in self._plans:
                columns = self.store.columns.items()
                lengths = {name: column.lengths().astype(np.int32) for name, column in columns}
                self._plans.clear()
                make = plan_packed if self.packed else partial(plan, groups=self.groups)
                self._plans[epoch] = make(lengths, tokens=self.tokens, seed=self.seed, epoch=epoch)
            return self._plans[epoch]

    def update_batch(self, plan: Plan, position: Position, *, pin: bool = False) -> UpdateBatch:
        """Return this rank's batch for one update.

        Args:
            plan: the plan of the update's epoch
            position: the update
            pin: put the tensors into pinned memory
        """
        update = self._update(plan, position)
        return self._collate(update, self._examples.of_update(update), pin=pin)

    def position_after(self, start: Position, updates: int, *, skip: Collection[Position] = ()) -> Position:
        """Return the position of a later update.

        Args:
            start: the position of an update
            updates: the number of updates from `start` to the later update; 0: the update at `start` itself
            skip: positions that do not count, because a run skips them
        """
        epoch, index = start.epoch, start.index
        while True:
            batches = [i for i in range(index, len(self.plan(epoch))) if Position(epoch, i) not in skip]
            if updates < len(batches):
                return Position(epoch, batches[updates])
            updates -= len(batches)
            epoch, index = epoch + 1, 0

    def for_single_device(self) -> "Batches":
        """Return the same batches for a single process, which computes whole updates."""
        return replace(self, rank=0, world_size=1)

    def batch(self, rows: Integers, epoch: int) -> Batch:
        """Return the examples with these indices as one batch, encoded as in an epoch."""
        return collate(self._examples.columns(rows, epoch))

    def largest_update(self, epoch: int) -> UpdateBatch:
        """Return the batch of the update that needs the most memory in an epoch."""
        plan = self.plan(epoch)
        return self.update_batch(plan, Position(epoch, plan.largest))

    def update_batches(
        self, start: Position, *, skip: Collection[Position] = (), pin: bool = False
    ) -> Iterator[UpdateBatch]:
        """Yield the batches of all updates from `start` on, without end.

        The next epoch is planned in the background once nine tenths of the current one are done.

        Args:
            start: the first update
            skip: updates to skip
            pin: put the tensors into pinned memory
        """
        updates, ahead = tee(self._updates(start, skip))
        encoded = (
            map_in_processes(self._examples.of_update, ahead, self.processes)
            if self.processes and self.task
            else map(self._examples.of_update, ahead)
        )
        for update, columns in zip(updates, encoded, strict=True):
            yield self._collate(update, columns, pin=pin)

    def _updates(self, start: Position, skip: Collection[Position]) -> Iterator[PlannedUpdate]:
        """Yield the examples of all updates from `start` on, without those to skip."""
        epoch, index = start.epoch, start.index
        current = in_thread(partial(self.plan, epoch))
        while True:
            plan, following = current.result(), None
            for i in range(index, len(plan)):
                if following is None and i >= len(plan) * 9 // 10:
                    following = in_thread(partial(self.plan, epoch + 1))
                if Position(epoch, i) not in skip:
                    yield self._update(plan, Position(epoch, i))
            epoch, index = epoch + 1, 0
            current = following or in_thread(partial(self.plan, epoch))

    def _update(self, plan: Plan, position: Position) -> PlannedUpdate:
        """Return an update with its groups if each of them is a microbatch, else with one group."""
        if self.packed:
            return PlannedUpdate(position, [], plan)
        groups = plan.example_groups(position.index)
        return PlannedUpdate(position, groups if self.microbatch is None else [np.concatenate(groups)])

    def _collate(
        self, update: PlannedUpdate, columns_of_groups: Sequence[Mapping[str, Ragged]], *, pin: bool
    ) -> UpdateBatch:
        """Return this rank's batch for one update."""
        if update.packed is not None:
            return packed_update(
                self.store.columns,
                update.packed,
                update.position,
                microbatch=self.microbatch,
                rank=self.rank,
                world_size=self.world_size,
                pin=pin,
            )
        microbatches, target_tokens, tokens = list[Microbatch](), 0, 0
        dummy = None
        for group, columns in zip(update.groups, columns_of_groups, strict=True):
            target_tokens += len(columns[TARGET].values)
            if self.world_size > 1 and dummy is None:
                shortest = columns[TARGET].lengths().argsort(kind="stable")[:1]
                dummy = Microbatch(collate(_take(columns, shortest), pin=pin), group[shortest])
            for part in split_into_microbatches(columns, self.microbatch, self.rank, self.world_size):
                batch = collate(_take(columns, part), pin=pin)
                microbatches.append(Microbatch(batch, group[part]))
                tokens += sum(int(columns[name].lengths()[part].sum()) for name in batch.columns)
        padded_tokens = sum(microbatch.padded_tokens for microbatch in microbatches)
        return UpdateBatch(
            position=update.position,
            microbatches=microbatches,
            target_tokens=target_tokens,
            token_fraction=tokens / max(1, padded_tokens),
            dummy=dummy,
        )


def split_into_microbatches(
    columns: Mapping[str, Ragged], microbatch: int | None, rank: int, world: int
) -> list[Integers]:
    """Return the rows of each microbatch of one rank; the rows of a microbatch have similar lengths.

    All ranks together get each row once.

    Args:
        columns: the columns of the examples
        microbatch: maximum padded tokens per microbatch, as rows times the longest row; None: no limit
        rank: rank of the process
        world: number of processes that share the examples
    """
    lengths = [column.lengths() for column in columns.values()]
    longest = np.maximum.reduce(lengths)
    order = np.lexsort((*lengths, longest))[rank::world]
    if microbatch is None:
        return [order] if len(order) else []
    parts: list[Integers] = []
    start, ordered = 0, longest[order]
    while start < len(order):
        padded_tokens = ordered[start:] * np.arange(1, len(order) - start + 1)
        end = start + max(1, int(padded_tokens.searchsorted(microbatch, "right")))
        parts.append(order[start:end])
        start = end
    return parts


def collate(columns: Mapping[str, Ragged], *, pin: bool = False) -> Batch:
    """Return the columns of examples as right-padded tensors, in pinned memory if `pin` is set."""
    tokens = {name: _padded(column) for name, column in columns.items()}
    if WORDS in tokens:
        source, starts = tokens["source"], tokens.pop(WORDS).values
        tokens["source"] = Column.of(source.values, source.layout.keep.sum(1), starts)
    if pin:
        tokens = {name: column.pinned() for name, column in tokens.items()}
    return Batch(tokens, len(columns[TARGET].values))


def _take(columns: Mapping[str, Ragged], rows: Integers) -> dict[str, Ragged]:
    return {name: column.take(rows) for name, column in columns.items()}


def _padded(column: Ragged) -> Column:
    lengths, values = column.lengths(), column.values
    shape = len(lengths), int(lengths.max(initial=0)), *values.shape[1:]
    padded = np.zeros(shape, np.int64 if column.has_ids else np.float32)
    padded[np.arange(shape[1]) < lengths[:, None]] = values
    return Column.of(torch.from_numpy(padded), torch.from_numpy(lengths))
