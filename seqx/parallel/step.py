"""Model and objective as one module: what is differentiated, and what several devices wrap."""

from collections.abc import Mapping

from torch import Tensor, nn

from seqx.interfaces.learning import Objective
from seqx.interfaces.networks import Model
from seqx.interfaces.values import Batch


class Step(nn.Module):
    """Computes the sums of an objective for a batch.

    Whatever spreads a model over devices wraps this module, and is called through it alone: when a part of a
    wrapped module is called from outside, gradients differ between devices without a word.
    """

    def __init__(self, model: Model, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """Named sums over the batch."""
        return self.objective(self.model, batch)
