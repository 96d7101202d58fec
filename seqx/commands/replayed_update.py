"""An update of a run that is computed again: its batch, its weights, and the losses of its examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from seqx.data.loader import Position, UpdateBatch
from seqx.training.recovery.skipped_batches import UndoneUpdates


@dataclass(frozen=True, kw_only=True)
class ReplayedExample:
    """An example of an update."""

    index: int  # among the training examples, from 0
    row: int | None  # number of its training row, from 0; None: unknown
    location: str | None  # file and line of that row, as far as the corpus knows them
    rank: int
    microbatch: int  # of its rank, from 0
    text: Mapping[str, str]  # by column; empty if the task keeps no text
    tokens: Mapping[str, Sequence[str]]  # by column; without those that have no ids


@dataclass(frozen=True, kw_only=True)
class ReplayedLoss:
    """The loss of an example alone, without dropout."""

    index: int  # among the training examples, from 0
    sums: Mapping[str, float]  # the sums of the objective
    tokens: int  # the divisor of its loss: target tokens
    norm: float  # of the gradient that it adds to that of the update

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
        undone: describes the history of the run before a rollback, if the update is that of this history
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
