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
    """An exponential moving average of the weights (Polyak and Juditsky 1992).

    Args:
        decay: the weight of the average in each update; the new weights get the rest
        warmup: start with a smaller decay, (1 + t) / (10 + t) after t updates, until that reaches `decay`
    """

    decay: Annotated[float, Gt(0), Lt(1)] = 0.999
    warmup: bool = True

    def decay_after(self, updates: int) -> float:
        """Return the decay of the next update, given the number of updates so far."""
        return min(self.decay, (1 + updates) / (10 + updates)) if self.warmup else self.decay


class Average:
    """A copy of a model whose weights are the moving average; its buffers are those of the model.

    Torch's AveragedModel does the same, but makes the host wait for the device in each update.

    A checkpoint saves the average as the weights of the model. The state of this object therefore contains
    the trained weights, from which training continues.

    Args:
        config: the decay
        raw: the model that is trained
    """

    def __init__(self, config: Ema, raw: Model) -> None:
        self.config = config
        self.raw = raw
        # The copy keeps requires_grad, although no gradients are computed: autocast caches the casts only of
        # weights that require gradients, and would cast others again for each decoded token.
        self.model = copy.deepcopy(raw)
        self.updates = 0

    @torch.no_grad()
    def follow(self, skipped: Tensor | None = None) -> None:
        """Add the weights after an update to the average; the first call copies them.

        A skipped update (`skipped` is a bool on the device) is counted, but does not change the average.
        """
        weight = 1 - self.config.decay_after(self.updates) if self.updates else 1.0
        self.updates += 1
        amount = weight if skipped is None else torch.where(skipped, 0.0, weight)
        for mean, new in zip(self.model.parameters(), self.raw.parameters(), strict=True):
            mean.lerp_(new, amount if isinstance(amount, float) else amount.to(mean.device, mean.dtype))
        for buffer, trained_buffer in zip(self.model.buffers(), self.raw.buffers(), strict=True):
            buffer.copy_(trained_buffer)

    def state_dict(self) -> dict[str, Any]:
        """Return the trained weights, and the number of updates that were averaged."""
        return {"weights": self.raw.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        self.raw.load_state_dict(state["weights"])
        self.updates = state["updates"]
