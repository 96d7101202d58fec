"""The exponential moving average of a model's weights."""

import copy
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from seqx.interfaces.networks import Model


@dataclass(frozen=True, kw_only=True)
class Ema:
    """How slowly an average of the weights follows them (Polyak and Juditsky 1992).

    Args:
        decay: share of the average that stays in an update
        warmup: whether early averages follow faster: (1 + t) / (10 + t) stays after t updates, until that is
            `decay`
    """

    decay: Annotated[float, Gt(0), Lt(1)] = 0.999
    warmup: bool = True

    def after(self, updates: int) -> float:
        """The share that stays in the next update."""
        return min(self.decay, (1 + updates) / (10 + updates)) if self.warmup else self.decay


class Average:
    """A copy of a model that holds the average of its weights; buffers are those of the model.

    Torch's AveragedModel does the same, but copies its counter to the device for each update, for which the
    host waits.

    Its state has the weights that training goes on from, because a checkpoint's own weights are the average.
    """

    def __init__(self, how: Ema, raw: Model) -> None:
        self.how = how
        self.raw = raw
        # It keeps requires_grad, although no gradients are computed. Autocast caches the casts of weights
        # that require gradients only, and would cast the others again for each decoded token.
        self.model = copy.deepcopy(raw)
        self.updates = 0

    @torch.no_grad()
    def follow(self, skipped: Tensor | None = None) -> None:
        """Take the weights after an update in; the first are the average.

        An update that was `skipped`, a bool on the device, counts, but leaves the average as it is.
        """
        share = 1 - self.how.after(self.updates) if self.updates else 1.0
        self.updates += 1
        moves = share if skipped is None else torch.where(skipped, 0.0, share)
        for mean, now in zip(self.model.parameters(), self.raw.parameters(), strict=True):
            mean.lerp_(now, moves if isinstance(moves, float) else moves.to(mean.device, mean.dtype))
        for kept, there in zip(self.model.buffers(), self.raw.buffers(), strict=True):
            kept.copy_(there)

    def state_dict(self) -> dict[str, Any]:
        """The raw weights, and how many updates were averaged."""
        return {"weights": self.raw.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.raw.load_state_dict(state["weights"])
        self.updates = state["updates"]
