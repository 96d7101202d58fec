"""The interface that divides an update between ranks, and its implementation for one device.

Each rank computes its own examples of every update, in one or more microbatches. Every sum of the objective
is divided by its count over the whole update, which all ranks know before they compute. So the gradients of
the ranks are added up, not averaged.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from seqx.interfaces.learning import Objective
from seqx.interfaces.networks import Model
from seqx.interfaces.tensors import Batch
from seqx.parallel.process_group import World
from seqx.parallel.stragglers import Stragglers


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


class Strategy:
    """The strategy for one device, and the base class of the strategies for several devices.

    All ranks call these methods in this order for each update, and wait for each other in "collective" ones:

    1. `update_started`, before the batch is fetched
    2. `global_counts` (collective)
    3. for each of `num_microbatches` microbatches: a forward and a backward pass within `gradient_sync`,
       which is collective for the last one (for each one, if parameters are sharded)
    4. `check_all_grads`; or `abort_update`, if a microbatch did not fit into memory
    5. `any` (collective), to find out if a rank called `abort_update`. If so: `reset_after_oom` (collective),
       and step 3 again with smaller microbatches
    6. `reduce_sums` (collective), and `clip_grad_norm`
    7. `update_finished`, and `max_over_ranks` (collective), so that ranks agree if training is interrupted

    Before the model is validated or saved, all ranks call `gather_full_model` (collective).

    Args:
        step: the model and the objective
    """

    rebuilds_buckets = False
    """True if the first gradient synchronisation decides in which order later ones add up gradients."""

    def __init__(self, step: Step) -> None:
        self.step = step

    @property
    def model(self) -> Model:
        """The model that is validated and saved, as it was after the last `gather_full_model`."""
        return self.step.model

    def any(self, flag: bool) -> bool:
        """Return true if the flag is true on any rank (collective)."""
        return flag

    def max_over_ranks(self, numbers: Sequence[int]) -> list[int]:
        """Return the largest value on any rank of each number (collective)."""
        return list(numbers)

    def update_started(self) -> None:
        """Start to measure the time of this rank's part of an update."""

    def update_finished(self) -> None:
        """Record that this rank has finished an update, so that hanging in one can be detected."""

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context for waiting; its time does not count as work of this rank."""
        return contextlib.nullcontext()

    def clip_grad_norm(self, max_norm: float) -> Tensor:
        """Clip the gradient to a norm of `max_norm`; return the norm before."""
        if math.isinf(max_norm):
            return get_total_norm([p.grad for p in self.step.parameters() if p.grad is not None])
        return clip_grad_norm_(self.step.parameters(), max_norm)

    def global_counts(self, batches: Sequence[Batch]) -> Counter[str]:
        """Return the counts that divide the update's sums, given this rank's batches (collective)."""
        return own_counts(self.step, batches)

    def num_microbatches(self, own: int) -> int:
        """Return the number of microbatches that this rank must run; `own` of them have examples."""
        return own

    def abort_update(self, *, sync: bool) -> None:
        """Abort an update that did not fit into memory, so that ranks that wait for this one can continue.

        `sync`: true if the other ranks wait for gradients of this one.

        Raises:
            OutOfMemoryError: the other ranks cannot continue without this one
        """

    def check_all_grads(self) -> None:
        """Check that each parameter has a gradient, if other ranks wait for it.

        Raises:
            UserError: a parameter has no gradient
        """

    def reset_after_oom(self) -> None:
        """Prepare for computing the update again after any rank ran out of memory (collective)."""
        torch.cuda.empty_cache()  # smaller microbatches need blocks of other sizes than those in the cache

    def gradient_sync(self, *, last: bool) -> AbstractContextManager[None]:
        """Return the context of one microbatch; gradients of all ranks are added up in the `last` one."""
        del last
        return contextlib.nullcontext()

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the objective's named sums over a batch."""
        return self.step(batch)

    def reduce_sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums added up over all ranks (collective)."""
        return sums

    def gather_full_model(self) -> None:
        """Copy the trained weights of all ranks into `model` (collective)."""

    def load_full_model(self) -> None:
        """Copy the weights of `model` into the module that is trained."""

    def full_state_dict(self, state: Any) -> Any:
        """Return nested states with whole tensors instead of shards (collective)."""
        return state

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """Load a state that was saved with whole tensors into the optimizer."""
        optimizer.load_state_dict(dict(state))

    def load_device(self, device: torch.device) -> torch.device:
        """Return the device into whose memory a checkpoint is read, for training on `device`."""
        return device

    def model_on_device(self) -> AbstractContextManager[None]:
        """Return a context in which `model` is on the training device."""
        return contextlib.nullcontext()


class DistributedStrategy(Strategy):
    """The base class of the strategies for several ranks, which exchange counts and find stragglers.

    Args:
        step: the model and the objective
        world: the ranks
    """

    def __init__(self, step: Step, world: World) -> None:
        super().__init__(step)
        self.world = world
        self.stragglers = Stragglers(world)

    def update_started(self) -> None:
        """Start to measure the time of this rank's part of an update."""
        self.stragglers.update_started()

    def update_finished(self) -> None:
        """Record that this rank has finished an update, so that hanging in one can be detected."""
        self.world.enter_stage("between updates")

    def max_over_ranks(self, numbers: Sequence[int]) -> list[int]:
        """Return the largest value on any rank of each number (collective)."""
        return [max(values) for values in zip(*self.world.all_gather_ints(numbers), strict=True)]

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context for waiting; its time does not count as work of this rank."""
        return self.stragglers.waiting()

    def gather_counts(self, batches: Sequence[Batch]) -> tuple[Counter[str], int]:
        """Return the counts over all ranks, and the largest number of batches of a rank (collective)."""
        own = own_counts(self.step, batches)
        names = sorted(own) if batches else []
        seconds = self.stragglers.data_ready()
        # A rank without batches does not know the names of counts. Rank 0 has a batch if any rank has one.
        gathered = self.world.all_gather((names, [own[name] for name in names], len(batches), seconds))
        counts = Counter[str]()
        for rank_names, rank_counts, _, _ in gathered:
            counts.update(dict(zip(rank_names, rank_counts, strict=True)))
        self.stragglers.record([seconds for *_, seconds in gathered])
        return counts, max(size for _, _, size, _ in gathered)

    def all_reduce_sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return named scalars added up over all ranks (collective)."""
        names = sorted(sums)
        total = self.world.all_reduce(torch.stack([sums[name].float() for name in names]))
        return dict(zip(names, total.unbind(), strict=True))


def own_counts(step: Step, batches: Sequence[Batch]) -> Counter[str]:
    """Return the objective's counts over some batches."""
    counts = Counter[str]()
    for batch in batches:
        counts.update(step.objective.counts(batch))
    return counts
