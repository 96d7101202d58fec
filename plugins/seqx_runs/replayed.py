"""An update of a run that was computed again, beside what the run recorded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import seqx

Order = Literal["gradient", "loss", "token-loss"]


@dataclass(frozen=True, kw_only=True)
class RecordedMeans:
    """The values of the line of `metrics.jsonl` that includes an update."""

    first: int  # the first update of the line
    last: int  # its last update
    loss: float | None  # mean over the updates
    learning_rate: float | None  # of the last update
    norm: float | None  # of the gradient of the last update

    @classmethod
    def find(cls, metrics: seqx.RecordedMetrics, step: int) -> "RecordedMeans | None":
        """Return the values of the line that includes an update; None if it was not recorded."""
        for line in metrics.updates:
            first = line["step"] - line.get("updates", 1) + 1
            if first <= step <= line["step"]:
                return cls(
                    first=first,
                    last=line["step"],
                    loss=line.get("loss"),
                    learning_rate=line.get("learning_rate"),
                    norm=line.get("norm"),
                )
        return None


@dataclass(frozen=True, kw_only=True)
class ReplayedNumbers:
    """The numbers of an update that was computed again."""

    weights: seqx.ReplayedWeights
    means: Mapping[str, float]  # the means of the objective's sums, "loss" among them
    norm: float  # of the gradient, before clipping
    learning_rate: float
    skipped: bool  # loss or gradient is not finite
    losses: Mapping[int, seqx.ReplayedLoss]  # by the index of the example

    @classmethod
    def compute(cls, replay: seqx.Replay, batch: seqx.ReplayedBatch, *, exact: bool) -> "ReplayedNumbers":
        """Compute an update again."""
        weights, update, losses = replay.update(batch, exact=exact)
        return cls(
            weights=weights,
            means={
                name: float(value) / update.counts[name] if update.counts[name] else math.nan
                for name, value in update.sums.items()
            },
            norm=float(update.norm),
            learning_rate=update.learning_rate,
            skipped=bool(update.skipped),
            losses={each.index: each for each in losses},
        )

    def worst(self, order: Order) -> list[int]:
        """Return the indices of the examples, the worst first; numbers that are not finite are the worst."""

        def badness(each: seqx.ReplayedLoss) -> float:
            values = {"gradient": each.norm, "loss": each.loss, "token-loss": each.loss_per_token}
            return values[order] if math.isfinite(values[order]) else math.inf

        return sorted(self.losses, key=lambda index: -badness(self.losses[index]))


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """An update of a run: its batch, the numbers computed now and those of the run, and some sentences."""

    run: str
    steps: int  # the number of updates that the recipe asks for
    updates_made: int  # the number of updates that the run has recorded
    processes: int  # that made the update
    batch: seqx.ReplayedBatch
    was_undone: bool  # a rollback has undone an update of this number
    recorded: RecordedMeans | None
    numbers: ReplayedNumbers | None  # None: nothing was computed
    order: Order
    examples: Sequence[seqx.ReplayedExample]
    to_repeat: int  # number of updates that --exact makes again
    seconds: float | None  # of an update of the run; None: unknown

    @classmethod
    def compute(
        cls,
        replay: seqx.Replay,
        step: int,
        *,
        undone: bool,
        exact: bool,
        losses: bool,
        order: Order,
        top: int,
    ) -> "Replayed":
        """Find the batch of an update, and compute the update again.

        Args:
            replay: the run
            step: the number of the update
            undone: find the batch of the update that a rollback has undone
            exact: make the updates before it again
            losses: compute the update; false: only find the sentences
            order: the number by which sentences are ranked
            top: the number of sentences, the worst first; 0: all
        """
        batch = replay.batch(step, undone=undone)
        numbers = ReplayedNumbers.compute(replay, batch, exact=exact) if losses else None
        indices = [*batch.examples] if numbers is None else numbers.worst(order)
        return cls(
            run=str(replay.record.folder),
            steps=replay.steps,
            updates_made=replay.updates_made,
            processes=len(batch.ranks),
            batch=batch,
            was_undone=replay.undone(step) is not None,
            recorded=None if undone else RecordedMeans.find(replay.record.metrics, step),
            numbers=numbers,
            order=order,
            examples=replay.examples(indices[: top or None], batch),
            to_repeat=replay.updates_to_repeat(batch),
            seconds=_seconds_per_update(replay.record.metrics),
        )


def _seconds_per_update(metrics: seqx.RecordedMetrics) -> float | None:
    """Return the mean duration of an update; None if it was not recorded."""
    count = sum(line.get("updates", 0) for line in metrics.updates)
    return sum(line["seconds"] for line in metrics.updates) / count if count else None
