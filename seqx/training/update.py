"""One update of the weights, as the training loop reports it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from seqx.data.batches import Position


@dataclass(frozen=True, kw_only=True)
class Update:
    """One step of the optimizer, after it was made."""

    step: int  # counted from 1
    sums: dict[str, Tensor]  # on the device, so that nobody waits for it who does not look
    counts: Mapping[str, int]
    tokens: int  # target tokens
    padding: float  # the share of computed places, of all columns, that hold no token
    at: Position  # where its batches are
    then: Position  # where those of the next update are
    learning_rate: float
    norm: Tensor  # of the gradient, before clipping
    seconds: float  # from asking for its batches to the end of the optimizer's work
    skipped: Tensor  # bool: loss or gradient was not finite, and nothing was learnt from this update
    oom_retries: int  # how often it was computed again in smaller parts, for want of memory
    health: Tensor  # [3] whether it was skipped, the norm, the loss: the same in all processes

    def value(self, name: str) -> float:
        """The mean of what the objective calls `name`, over the update."""
        return float(self.sums[name] / self.counts[name])

    @property
    def loss(self) -> float:
        """The mean loss in nats a target token."""
        return self.value("loss")
