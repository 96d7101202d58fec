"""The interface of strategies, which divide an update between ranks; and the strategy for one device."""

import contextlib
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from seqx.errors import UserError
from seqx.interfaces.learning import Objective, Optimizer
from seqx.interfaces.networks import Model
from seqx.interfaces.tensors import Batch
from seqx.parallel.count_exchange import CountExchange
from seqx.parallel.heartbeat import BETWEEN_UPDATES
from seqx.parallel.process_group import SINGLE_PROCESS, World
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

    def counts(self, batches: Sequence[Batch]) -> Counter[str]:
        """Return the objective's counts over some batches."""
        counts = Counter[str]()
        for batch in batches:
            counts.update(self.objective.counts(batch))
        return counts


class Parallelism(ABC):
    """A parallel strategy: how several ranks, each with one device, make the updates of one run together.

    Each rank gets its own examples of every update, in one or more microbatches. With a single process seqx
    uses `SingleDevice`, whatever the recipe says.

    `setup` and `build_optimizer` are called once, in this order. Then all ranks call these methods in this
    order for each update. In those that are marked *collective*, a rank waits for the others, so all ranks
    must make the call:

    1. `update_started`, before the batch is fetched
    2. `global_counts` (collective), and `loss_counts`
    3. for each of `num_microbatches` microbatches: a call of the strategy itself and the backward pass,
       within `gradient_sync`. If that exchanges gradients, it is collective for the last one, or for each
    4. `check_all_grads`; or `abort_update`, if a microbatch did not fit into memory
    5. `max_over_ranks` (collective), by which all ranks learn if a rank called `abort_update`, received a
       signal, or must save (`training.save_minutes`). If a rank called `abort_update`: `reset_after_oom`
       (collective), and steps 3 to 5 again with smaller microbatches
    6. `reduce_sums` (collective), and `clip_grad_norm` (it may be collective)
    7. the step of the optimizer, and `update_finished` (it may be collective)

    The numbers that `global_counts`, `reduce_sums` and `clip_grad_norm` return must be equal on all ranks,
    because ranks decide by them to skip an update, to roll back or to stop.

    Validations and checkpoints may come after any update. They must not change the updates after them. Before
    them, all ranks call `gather_full_model` (collective), which copies the weights to validate and to save
    into `model`; afterwards all ranks have the same `model`. A checkpoint contains:

    - the weights of `model`
    - the states of the optimizer, the objective and other parts on rank 0, as `full_state_dict` returns them
    - `rank_state` and the random state of every rank. If the ranks have different weights or optimizer states
      between updates, `rank_state` contains them

    A resumed run loads them: `load_optimizer_state`, `load_full_model`, and `load_rank_states` with the
    states of all ranks that wrote the checkpoint. The last one refuses another number of ranks, or the states
    of another strategy, if it cannot resume from them. With the same strategy and the same number of ranks,
    the updates are the same, bit by bit, as without an interruption.
    """

    model_is_current: ClassVar[bool] = True
    """True if `model` has the trained weights after each update; false: only after `gather_full_model`.

    A moving average of the weights (`training.ema`) reads `model` after each update, so it needs this.
    """

    shards_parameters: ClassVar[bool] = False
    """True if parameters are sharded tensors (DTensor), which some optimizers cannot update."""

    rebuilds_buckets: ClassVar[bool] = False
    """True if the first gradient synchronisation decides in which order later ones add up gradients."""

    step: Step
    """The model and the objective that are trained on this rank; from `setup` on."""

    world: World
    """The ranks; from `setup` on."""

    device: torch.device
    """The device of this rank; from `setup` on."""

    optimizer: torch.optim.Optimizer
    """The optimizer of this rank; from `build_optimizer` on."""

    stragglers: Stragglers
    """The measurement of the time that this rank works; call its `part_done` before waiting for gradients."""

    def setup(self, step: Step, world: World, device: torch.device) -> None:
        """Move the model and the objective, which all ranks have on the CPU, to the device (collective).

        A strategy that divides the model, or copies or wraps it, overrides this method. It calls
        `super().setup`, or sets `step`, `world`, `device` and `stragglers` itself. All ranks have the same
        weights.

        Raises:
            OutOfMemoryError: the model does not fit into memory
        """
        self.step = step.to(device)
        self.world = world
        self.device = device
        self.stragglers = Stragglers(world)

    def build_optimizer(self, optimizer: Optimizer) -> torch.optim.Optimizer:
        """Build the optimizer that updates the parameters of this rank, and keep it in `optimizer`."""
        self.optimizer = optimizer.build(self.updated)
        return self.optimizer

    @property
    def updated(self) -> nn.Module:
        """The module whose parameters the optimizer updates; by default `step`."""
        return self.step

    @property
    def model(self) -> Model:
        """The model that is validated and saved, as it was after the last `gather_full_model`."""
        return self.step.model

    def update_started(self) -> None:
        """Start to measure the time of this rank's part of an update."""
        self.stragglers.update_started()

    def global_counts(self, batches: Sequence[Batch]) -> Counter[str]:
        """Return the counts over all ranks, given this rank's batches (collective)."""
        return self.gather_counts(batches)[0]

    def loss_counts(self, batches: Sequence[Batch], counts: Counter[str]) -> Counter[str]:
        """Return the counts that divide the sums in this rank's loss.

        Args:
            batches: the batches of this rank
            counts: the counts over all ranks. They are returned by default: then the gradients of the ranks
                are added up, not averaged
        """
        del batches
        return counts

    def num_microbatches(self, own: int) -> int:
        """Return the number of microbatches that this rank must run; `own` of them have examples.

        For the others the rank computes a dummy example with weight 0. By default each rank runs at least one
        microbatch, so that each has gradients and sums.
        """
        return max(1, own)

    @abstractmethod
    def gradient_sync(self, *, last: bool) -> AbstractContextManager[None]:
        """Return the context of the forward and backward pass of one microbatch.

        A strategy that adds up the gradients of all ranks does so in the `last` microbatch (collective). It
        calls `stragglers.part_done` when this rank only waits for others.
        """

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the objective's named sums over a batch."""
        return self.step(batch)

    def abort_update(self, *, sync: bool) -> None:
        """Abort an update that did not fit into memory, so that ranks that wait for this one can continue.

        `sync`: true if the other ranks wait for gradients of this one.

        Raises:
            OutOfMemoryError: the other ranks cannot continue without this one; all processes end, and are
                started again
        """
        return

    def check_all_grads(self) -> None:
        """Check that each parameter has a gradient, if other ranks wait for it.

        Raises:
            UserError: a parameter has no gradient
        """
        return

    def reset_after_oom(self) -> None:
        """Prepare for computing the update again after any rank ran out of memory (collective)."""
        torch.cuda.empty_cache()  # smaller microbatches need blocks of other sizes than those in the cache

    def reduce_sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums added up over all ranks (collective)."""
        self.stragglers.part_done()
        names = sorted(sums)
        total = self.world.all_reduce(torch.stack([sums[name].float() for name in names]))
        return dict(zip(names, total.unbind(), strict=True))

    def clip_grad_norm(self, max_norm: float) -> Tensor:
        """Clip the gradient to a norm of `max_norm`; return the norm before, equal on all ranks."""
        if math.isinf(max_norm):
            return get_total_norm([p.grad for p in self.updated.parameters() if p.grad is not None])
        return clip_grad_norm_(self.updated.parameters(), max_norm)

    def drop_gradients(self) -> None:
        """Drop the gradients of this rank, because the update is computed again or not at all."""
        for module in (self.step, self.updated):
            module.zero_grad(set_to_none=True)

    def update_finished(self) -> None:
        """Finish an update, after the step of the optimizer; an override calls this method, too."""
        self.world.enter_stage(BETWEEN_UPDATES)

    def max_over_ranks(self, numbers: Sequence[int]) -> list[int]:
        """Return the largest value on any rank of each number (collective)."""
        return [max(values) for values in zip(*self.world.all_gather_ints(numbers), strict=True)]

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context for waiting; its time does not count as work of this rank."""
        return self.stragglers.waiting()

    def gather_full_model(self) -> None:
        """Copy the weights to validate and to save into `model`, on all ranks (collective)."""
        return

    def model_on_device(self) -> AbstractContextManager[None]:
        """Return a context in which `model` is on the device."""
        return contextlib.nullcontext()

    def full_state_dict(self, state: Any) -> Any:
        """Return nested states with whole tensors instead of shards (collective).

        Only the result on rank 0 is saved, so other ranks may return None instead of each sharded tensor.
        """
        return state

    def rank_state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of each rank; empty if rank 0 has all that is needed."""
        return {}

    def load_device(self) -> torch.device:
        """Return the device into whose memory a checkpoint is read."""
        return self.device

    def load_full_model(self) -> None:
        """Copy the weights of `model`, which a checkpoint has restored, into the module that is trained."""
        return

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Load a state that was saved with whole tensors into the optimizer."""
        self.optimizer.load_state_dict(dict(state))

    def load_rank_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restore this rank's state from the `rank_state` of all ranks that wrote the checkpoint.

        `states` is empty if the strategy that wrote the checkpoint had none.

        Raises:
            UserError: this strategy cannot resume from these states
        """
        if states:
            raise UserError(
                f"training.parallel: the {len(states)} ranks of this run have different weights; resume with "
                f"the strategy that the run began with, and with {len(states)} processes"
            )

    def gather_counts(self, batches: Sequence[Batch]) -> tuple[Counter[str], int]:
        """Return the counts over all ranks, and the largest number of batches of a rank (collective)."""
        seconds = self.stragglers.data_ready()
        counts, gathered = self._count_exchange.gather(
            self.step.counts(batches), len(batches), round(1e6 * seconds)
        )
        self.stragglers.record([microseconds / 1e6 for _, microseconds in gathered])
        return counts, max(size for size, _ in gathered)

    @cached_property
    def _count_exchange(self) -> CountExchange:
        return CountExchange(self.world)


class SingleDevice(Parallelism):
    """The strategy of a run with one process."""

    @classmethod
    def of(cls, step: Step, device: torch.device) -> Self:
        """Return the strategy for a model and an objective."""
        strategy = cls()
        strategy.setup(step, SINGLE_PROCESS, device)
        return strategy

    def gradient_sync(self, *, last: bool) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        del last
        return contextlib.nullcontext()

    def global_counts(self, batches: Sequence[Batch]) -> Counter[str]:
        """Return the counts of the batches."""
        return self.step.counts(batches)

    def reduce_sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums."""
        return sums

    def max_over_ranks(self, numbers: Sequence[int]) -> list[int]:
        """Return the numbers."""
        return list(numbers)

    def update_started(self) -> None:
        """Do nothing: a single rank cannot be a straggler."""

    def update_finished(self) -> None:
        """Do nothing: no other rank checks whether this one hangs."""

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return contextlib.nullcontext()
