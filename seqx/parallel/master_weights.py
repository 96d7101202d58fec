"""Training of weights in bfloat16, with a master copy in float32, on one device.

Micikevicius et al. 2018 (arXiv:1710.03740), section 3.1.
"""

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from seqx.interfaces.networks import Model
from seqx.parallel.parallelism import SingleDevice, Step
from seqx.parallel.process_group import World


class MasterWeights(SingleDevice):
    """The strategy of a run with one process whose networks read weights in bfloat16.

    The optimizer updates the master copy in float32, which is also validated, averaged and saved; then the
    weights in bfloat16 are rounded from it. The gradients of microbatches are added up in float32.
    """

    def setup(self, step: Step, world: World, device: torch.device) -> None:
        """Move the model to the device, and copy it with weights in bfloat16."""
        super().setup(step, world, device)
        self._updated = self.step
        self.step = Step(with_bfloat16_weights(step.model), step.objective)
        self._weights: list[Tensor] = list(self.step.model.parameters())
        self._masters: list[Tensor] = list(self.model.parameters())

    @property
    def model(self) -> Model:
        """The master copy."""
        return self._updated.model

    @property
    def updated(self) -> Step:
        """The module with the master copy."""
        return self._updated

    @contextlib.contextmanager
    def gradient_sync(self, *, last: bool) -> Iterator[None]:
        """Return a context that adds the gradients of a microbatch to those of the master copy."""
        del last
        yield
        pairs = zip(self._weights, self._masters, strict=True)
        trained = [(weight, master, weight.grad) for weight, master in pairs if weight.grad is not None]
        gradients: list[Tensor] = [torch.empty_like(master) for _, master, _ in trained]
        torch._foreach_copy_(gradients, [gradient for *_, gradient in trained])
        for (weight, master, _), gradient in zip(trained, gradients, strict=True):
            weight.grad = None
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)

    def update_finished(self) -> None:
        """Round the weights from the master copy, after the step of the optimizer."""
        super().update_finished()
        self.load_full_model()

    @torch.no_grad()
    def load_full_model(self) -> None:
        """Round the weights from the master copy, which a checkpoint may have restored."""
        torch._foreach_copy_(self._weights, self._masters)


def with_bfloat16_weights(model: Model) -> Model:
    """Return a copy of a model whose parameters are in bfloat16; its buffers are those of the model."""
    memo: dict[int, Tensor] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        weight = (
            parameter.detach().to(torch.bfloat16) if parameter.is_floating_point() else parameter.detach()
        )
        memo[id(parameter)] = nn.Parameter(weight, parameter.requires_grad)
    return copy.deepcopy(model, memo)
