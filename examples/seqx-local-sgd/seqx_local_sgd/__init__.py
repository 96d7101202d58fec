"""Local SGD (Stich 2019, arXiv:1805.09767): ranks train alone, and average weights every few updates."""

import contextlib
import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import seqx
import torch
from torch import Tensor, nn

__all__ = ["LocalSGD"]


class LocalSGD(seqx.Parallelism):
    """Local SGD: each rank trains its own weights; all ranks average them every few updates.

    Only numbers are exchanged in each update, and no gradients. Optimizer states are not averaged.

    Args:
        every: the number of updates between two averages
    """

    model_is_current = False

    def __init__(self, *, every: int = 8) -> None:
        if every < 1:
            raise ValueError(f"every is {every}; set it to 1 or more")
        self.every = every

    def setup(self, step: seqx.Step, world: seqx.World, device: torch.device) -> None:
        """Move the model to the device, and copy it for the average of all ranks."""
        super().setup(step, world, device)
        self._mean = copy.deepcopy(step.model)
        self._updates = 0  # since the last average

    @property
    def model(self) -> seqx.Model:
        """The mean of the models of all ranks, as it was after the last `gather_full_model`."""
        return self._mean

    def gradient_sync(self, *, last: bool) -> AbstractContextManager[None]:
        """Return a context that does nothing: gradients are not exchanged."""
        return contextlib.nullcontext()

    def loss_counts(self, batches: Sequence[seqx.Batch], counts: Counter[str]) -> Counter[str]:
        """Return the counts of this rank: its loss is the mean over its own examples."""
        return self.step.counts(batches)

    def clip_grad_norm(self, max_norm: float) -> Tensor:
        """Clip the gradient of this rank; return the root mean square of the norms of all ranks."""
        norm = super().clip_grad_norm(max_norm).detach()
        return (self.world.all_reduce(norm.square()) / self.world.size).sqrt()

    def update_finished(self) -> None:
        """Count the update, and average the weights if that is due."""
        self._updates += 1
        if self._updates == self.every:
            self._average(self.step)
            self._updates = 0
        super().update_finished()

    def gather_full_model(self) -> None:
        """Copy the mean of the weights of all ranks into `model`; the trained weights do not change."""
        self._mean.load_state_dict(self.step.model.state_dict())
        self._average(self._mean)

    def rank_state(self) -> dict[str, Any]:
        """Return the weights and the optimizer state of this rank, and the updates since the last average."""
        return {
            "every": self.every,
            "updates": self._updates,
            "step": self.step.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_device(self) -> torch.device:
        """Return the CPU: a checkpoint has the weights of all ranks, and may not fit on a device."""
        return torch.device("cpu")

    def load_rank_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restore the state of this rank.

        Raises:
            UserError: another strategy, number of ranks or `every` wrote the checkpoint
        """
        if [state.get("every") for state in states] != [self.every] * self.world.size:
            raise seqx.UserError(
                f"training.parallel: this run did not begin with local_sgd, every: {self.every}, and "
                f"{self.world.size} processes; resume it as it began (its recipe.yaml and environment.json "
                "show how), or choose another folder (--folder)"
            )
        own = states[self.world.rank]
        self._updates = own["updates"]
        self.step.load_state_dict(own["step"])
        self.optimizer.load_state_dict(own["optimizer"])

    @torch.no_grad()
    def _average(self, module: nn.Module) -> None:
        """Replace the weights of a module by their mean over all ranks (collective)."""
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                self.world.all_reduce(tensor.detach()).div_(self.world.size)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the strategy."""
    registry.add(seqx.Parallelism, local_sgd=LocalSGD)
