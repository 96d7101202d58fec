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
        decay: the factor of the average in each update; the factor of the new weights is 1 - decay
        warmup: start with a smaller decay, (1 + t) / (10 + t) after t updates, until it reaches `decay`
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
        trained: the model that is trained
    """

    def __init__(self, config: Ema, trained: Model) -> None:
        self.config = config
        self.trained = trained
        # The copy keeps requires_grad, although no gradients are computed: autocast caches the casts only of
        # weights that require gradients, and would cast others again for each decoded token.
        self.model = copy.deepcopy(trained)
        self.updates = 0

    @torch.no_grad()
    def add_weights(self, skipped: Tensor | None = None) -> None:
        """Add the weights of the trained model to the average after an update; the first call copies them.

        `skipped` is a bool on the device. A skipped update is counted, but does not change the average.
        """
        weight = 1 - self.config.decay_after(self.updates) if self.updates else 1.0
        self.updates += 1
        amount = weight if skipped is None else torch.where(skipped, 0.0, weight)
        means: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(self.trained.parameters())
        if isinstance(amount, Tensor) and weight < 1 and _can_be_combined([*means, *weights], amount):
            # Few kernels for all parameters. No activations are in memory now, so there is room for a copy.
            changes = torch._foreach_sub(weights, means)  # noqa: SLF001  as torch's optimizers do
            torch._foreach_mul_(changes, amount)
            torch._foreach_add_(means, changes)
        else:
            for mean, new in zip(means, weights, strict=True):
                mean.lerp_(new, amount if isinstance(amount, float) else amount.to(mean.device, mean.dtype))
        for buffer, trained_buffer in zip(self.model.buffers(), self.trained.buffers(), strict=True):
            buffer.copy_(trained_buffer)

    def state_dict(self) -> dict[str, Any]:
        """Return the trained weights, and the number of updates that were averaged."""
        return {"weights": self.trained.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        self.trained.load_state_dict(state["weights"])
        self.updates = state["updates"]


def _can_be_combined(parameters: list[Tensor], amount: Tensor) -> bool:
    """Return true if all parameters are on the GPU of `amount`, with the same dtype."""
    return amount.is_cuda and all(p.device == amount.device and p.dtype == amount.dtype for p in parameters)
