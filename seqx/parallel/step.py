"""The model and the objective as one module, which strategies wrap."""

from collections.abc import Mapping

from torch import Tensor, nn

from seqx.interfaces.learning import Objective
from seqx.interfaces.networks import Model
from seqx.interfaces.tensors import Batch


class Step(nn.Module):
    """Compute the sums of the objective for a batch.

    DDP and FSDP wrap this module. Always call the wrapper: if a part of a wrapped module is called directly,
    its gradients are not added up over the ranks, and no error is raised.
    """

    def __init__(self, model: Model, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the objective's named sums over the batch."""
        return self.objective(self.model, batch)
