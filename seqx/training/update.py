"""An update of the weights, as the training loop reports it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from seqx.data.loader import Position


@dataclass(frozen=True, kw_only=True)
class Update:
    """A finished step of the optimizer."""

    step: int  # counted from 1
    sums: dict[str, Tensor]  # on the device; reading a value waits for it
    counts: Mapping[str, int]  # the divisor of each sum
    tokens: int  # target tokens, over all ranks
    padding: float  # fraction of this rank's padded tokens, over all columns, that are padding
    at: Position  # the position of its batch: `epoch` and `index`
    then: Position  # the position of the next batch
    learning_rate: float  # of this update, from the schedule
    norm: Tensor  # the norm of the gradient, before clipping
    seconds: float  # on the host, from fetching the batch to the end of the optimizer's step
    skipped: Tensor  # bool: loss or gradient was not finite, and the weights did not change
    oom_retries: int  # number of times it was recomputed with smaller microbatches
    health: Tensor  # [3]: 1 if the update was skipped, else 0; the norm; the loss; equal on all ranks

    def value(self, name: str) -> float:
        """Return the mean over the update of a sum of the objective, such as "nll"; waits for the device."""
        return float(self.sums[name] / self.counts[name])

    @property
    def loss(self) -> float:
        """The mean loss in nats per target token; waits for the device."""
        return self.value("loss")
