"""An update of a run that is computed again: its batch, its weights, and the losses of its examples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seqx.data.batches import Batches
from seqx.data.loader import Position, UpdateBatch
from seqx.data.row_numbers import row_numbers
from seqx.errors import UserError
from seqx.interfaces.task import Task
from seqx.interfaces.tensors import BOS, EOS, PAD
from seqx.parallel.parallelism import Step
from seqx.runtime.devices import raise_torch_oom
from seqx.training.recovery.skipped_batches import UndoneUpdates
from seqx.training.recovery.worst_examples import describe_examples, sums_and_gradient_norm

_SPECIAL = {PAD: "<pad>", BOS: "<s>", EOS: "</s>"}

Report = Callable[[str], None]
"""A function that is called with the current activity."""


@dataclass(frozen=True, kw_only=True)
class ReplayedExample:
    """An example of an update."""

    index: int  # among the training examples, from 0
    row: int | None  # number of its training row, from 0; None: unknown
    location: str | None  # file and line of that row, as far as the corpus knows them
    rank: int
    microbatch: int  # of its rank, from 0
    text: Mapping[str, str]  # by column; empty if the task keeps no text
    tokens: Mapping[str, Sequence[str]]  # by column; columns without ids are left out


@dataclass(frozen=True, kw_only=True)
class ReplayedLoss:
    """The loss of an example alone, without dropout."""

    index: int  # among the training examples, from 0
    sums: Mapping[str, float]  # the sums of the objective
    tokens: int  # the divisor of its loss: target tokens
    norm: float  # of the gradient that the example adds to the gradient of the update

    @property
    def loss(self) -> float:
        """The loss in nats."""
        return self.sums["loss"]

    @property
    def loss_per_token(self) -> float:
        """The loss in nats per target token."""
        return self.loss / max(1, self.tokens)


@dataclass(frozen=True, kw_only=True)
class ReplayedWeights:
    """The weights with which an update was computed again."""

    source: Path | None  # the folder of a checkpoint or of the model; None: the initial weights
    step: int  # the number of updates that `source` had made
    repeated: int  # the number of updates that were made again from there
    exact: bool  # these are the weights with which the run made the update


class ReplayedBatch:
    """The batch of an update, which is found without the weights of the model.

    Args:
        step: the number of the update, from 1
        undone: describes the updates that a rollback undid, if the update is one of them
        ranks: the part of each rank
    """

    def __init__(self, step: int, undone: UndoneUpdates | None, ranks: Sequence[UpdateBatch]) -> None:
        self.step = step
        self.undone = undone
        self.ranks = ranks

    @property
    def position(self) -> Position:
        """The epoch and the index of the batch."""
        return self.ranks[0].position

    @property
    def tokens(self) -> int:
        """The number of target tokens."""
        return self.ranks[0].target_tokens

    @property
    def microbatches(self) -> int:
        """The number of microbatches of all ranks."""
        return sum(len(part.microbatches) for part in self.ranks)

    @cached_property
    def examples(self) -> Mapping[int, tuple[int, int]]:
        """The indices of the examples, with the rank and the number of the microbatch of each."""
        return {
            int(index): (rank, number)
            for rank, part in enumerate(self.ranks)
            for number, microbatch in enumerate(part.microbatches)
            for index in microbatch.examples
        }


def replayed_examples(
    task: Task, batches: Batches, batch: ReplayedBatch, indices: Sequence[int]
) -> list[ReplayedExample]:
    """Return some examples of a batch with their texts and tokens.

    Args:
        task: the task, with fetched corpus and loaded vocabulary
        batches: the batches of the run
        batch: the batch
        indices: the indices of the examples
    """
    rows = row_numbers(task, batches.store, indices)
    found = []
    for index in indices:
        rank, microbatch = batch.examples[index]
        row = rows.get(index)
        columns = batches.batch(np.array([index]), batch.position.epoch).columns
        found.append(
            ReplayedExample(
                index=index,
                row=row,
                location=None if row is None else task.row_location("train", row),
                rank=rank,
                microbatch=microbatch,
                text=batches.store.text(index),
                tokens={
                    name: _symbols(task, name, column.values[0].tolist())
                    for name, column in columns.items()
                    if name in task.vocab_sizes and not column.values.is_floating_point()
                },
            )
        )
    return found


def _symbols(task: Task, column: str, ids: Sequence[int]) -> list[str]:
    """Return a readable form of each id, also of PAD, BOS and EOS."""
    symbols = iter(task.symbols(column, [i for i in ids if i not in _SPECIAL]))
    return [_SPECIAL[i] if i in _SPECIAL else next(symbols) for i in ids]


def example_losses(
    step: Step,
    batches: Batches,
    batch: ReplayedBatch,
    *,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
    report: Report,
) -> Iterator[ReplayedLoss]:
    """Yield the loss and the gradient norm of each example of a batch alone, without dropout.

    Args:
        step: the model and the objective
        batches: the batches of the run
        batch: the examples
        device: the device of the model
        precision: the precision of matrix products
        report: called with the current activity

    Raises:
        UserError: an example does not fit into memory
    """
    counts = step.counts([each.batch for part in batch.ranks for each in part.microbatches])
    divisors = {name: max(1, count) for name, count in counts.items()}
    step.eval()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for number, index in enumerate(batch.examples, 1):
            report(f"computing the loss of example {number:,} of {len(batch.examples):,}")
            example = batches.batch(np.array([index]), batch.position.epoch)
            try:
                with raise_torch_oom():
                    sums, norm = sums_and_gradient_norm(
                        step, example, divisors, device=device, precision=precision
                    )
            except torch.OutOfMemoryError:
                described = describe_examples(batches.store, [index])
                message = f"{device} is out of memory with {described}; choose another --device"
                raise UserError(message) from None
            yield ReplayedLoss(index=index, sums=sums, tokens=step.counts([example])["loss"], norm=norm)
    step.train()
