"""An update that several devices share: who computes what, and how gradients come together.

Each device computes its rows of every update, in as many parts as it has. Gradients are sums over the whole
update, divided by counts that all devices know before they begin, so that they only have to be added up.
"""

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket  # public in torch.distributed but for its types
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_, get_total_norm

from seqx.errors import UserError
from seqx.interfaces.networks import Model
from seqx.interfaces.values import Batch
from seqx.parallel import World
from seqx.parallel.step import Step
from seqx.parallel.stragglers import Stragglers


class Strategy:
    """A step on one device, which is all there is.

    Args:
        step: what is trained
    """

    rebuilds_buckets = False
    """Whether the first exchange of gradients decides in which order later ones add them up."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.limit: float | None = None  # places of a part that were too many for the memory of a device

    def any(self, flag: bool) -> bool:
        """Whether it is so on any device; known on the host."""
        return flag

    @property
    def model(self) -> Model:
        """What is validated and saved."""
        return self.step.model

    def update_started(self) -> None:
        """An update begins: its batches are asked for."""

    def waiting(self) -> AbstractContextManager[None]:
        """In the block this device waits for what no device is to blame for."""
        return contextlib.nullcontext()

    def clip_grad_norm(self, longest: float) -> Tensor:
        """Shorten the gradient to a norm of `longest`; returns the norm that it had."""
        if math.isinf(longest):
            return get_total_norm([p.grad for p in self.step.parameters() if p.grad is not None])
        return clip_grad_norm_(self.step.parameters(), longest)

    def global_counts(self, parts: Sequence[Batch]) -> Counter[str]:
        """What the sums over the whole update are divided by."""
        return _counts(self.step, parts)

    def num_microbatches(self, parts: int) -> int:
        """How many parts are computed here, of which so many have rows."""
        return parts

    def abort_update(self, *, exchange: bool) -> None:
        """This device computes no more of an update: whoever waits for it is let go on.

        `exchange`: whether the others wait for its gradients.

        Raises:
            OutOfMemoryError: they cannot go on without it
        """

    def check_all_grads(self) -> None:
        """This device has computed all of its parts.

        Raises:
            UserError: something of what others wait for did not come of that
        """

    def reset_after_oom(self) -> None:
        """Every device begins the update anew, since one withdrew."""
        torch.cuda.empty_cache()  # small parts do not fit into what large ones left

    def gradient_sync(self, *, last: bool) -> AbstractContextManager[None]:
        """Where a part is computed; gradients of all devices are added up in the `last` one."""
        del last
        return contextlib.nullcontext()

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """Named sums over a batch."""
        return self.step(batch)

    def reduce_sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all devices."""
        return sums

    def gather_full_model(self) -> None:
        """Make `model` that which was trained; it is, where it is whole on the device."""

    def load_full_model(self) -> None:
        """Train on from `model`."""

    def full_state_dict(self, state: Any) -> Any:
        """A nest of states as it is saved."""
        return state

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """Give an optimizer a state that was saved."""
        optimizer.load_state_dict(dict(state))

    def load_device(self, device: torch.device) -> torch.device:
        """Where tensors are put when they are read that are for a device."""
        return device

    def model_on_device(self) -> AbstractContextManager[None]:
        """Where `model` lies on the device."""
        return contextlib.nullcontext()


class DistributedStrategy(Strategy):
    """A step that several devices share.

    Args:
        step: what is trained
        world: the processes that share it
    """

    def __init__(self, step: Step, world: World) -> None:
        super().__init__(step)
        self.world = world
        self.stragglers = Stragglers(world)

    def update_started(self) -> None:
        """An update begins: its batches are asked for."""
        self.stragglers.began()

    def waiting(self) -> AbstractContextManager[None]:
        """In the block this device waits for what no device is to blame for."""
        return self.stragglers.waiting()


class DDP(DistributedStrategy):
    """A step that every device has as a whole; gradients are exchanged while they are computed (DDP).

    Li et al. 2020 (arXiv:2006.15704). A device computes at least one part: one that has no rows of an update
    computes a spare row, which counts nothing.

    Args:
        step: what is trained, on this process's device
        world: the processes that share it
    """

    rebuilds_buckets = True

    def __init__(self, step: Step, world: World) -> None:
        super().__init__(step, world)
        self.module = self._wrapped()
        self._handed_in = 0  # buckets of this update's gradients

    def _wrapped(self, *, anew: bool = False) -> DistributedDataParallel:
        # Buffers are the same everywhere, and ranks that have other numbers of parts must not meet over them.
        with warnings.catch_warnings(
            action="ignore", category=FutureWarning
        ):  # of a name that old torch lacks
            module = DistributedDataParallel(
                self.step, broadcast_buffers=False, gradient_as_bucket_view=True, init_sync=not anew
            )
        module.register_comm_hook(None, self._added)
        return module

    def any(self, flag: bool) -> bool:
        """Whether it is so on any device; known on the host."""
        with self.stragglers.waiting():
            return self.world.any(flag)

    def global_counts(self, parts: Sequence[Batch]) -> Counter[str]:
        """The counts of all devices together."""
        # All do it now: a device may never come to its next forward pass, which would do it otherwise.
        self.module.reducer._rebuild_buckets()  # noqa: SLF001  as torch's own Join does
        return shared_counts(self.step, self.world, parts, self.stragglers)[0]

    def num_microbatches(self, parts: int) -> int:
        """One at least: gradients are exchanged in the last."""
        return max(1, parts)

    def abort_update(self, *, exchange: bool) -> None:
        """The others get zeros where they wait for this device's gradients, and so come to their end.

        Raises:
            OutOfMemoryError: there is no memory even for zeros
        """
        if not exchange:
            return
        every = self.module.reducer._get_zeros_like_grad_buckets()  # noqa: SLF001  as torch's own Join does
        waited_for = every[self._handed_in :]
        for given in [self._added(None, bucket) for bucket in waited_for]:
            given.wait()

    def check_all_grads(self) -> None:
        """Each parameter has a gradient, so that the exchange comes to its end.

        Raises:
            UserError: one has none
        """
        learning = ((name, p) for name, p in self.step.named_parameters() if p.requires_grad)
        idle = [name for name, p in learning if p.grad is None]
        if idle:
            raise UserError(
                f"training.objective: nothing is learnt by {', '.join(idle[:3])} ({len(idle)} such "
                "parameters), and several processes would wait for that; take an objective that uses all "
                "of the model"
            )

    def reset_after_oom(self) -> None:
        """Drop what torch knows of an exchange that did not come to its end, or was in vain."""
        del self.module
        super().reset_after_oom()
        self.module = self._wrapped(anew=True)
        self._handed_in = 0

    def gradient_sync(self, *, last: bool) -> AbstractContextManager[None]:
        """Where a part is computed; gradients are only exchanged during the backward pass of the `last`."""
        return contextlib.nullcontext() if last else self.module.no_sync()

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """Named sums over a batch."""
        return self.module(batch)

    def reduce_sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all devices."""
        self._handed_in = 0
        return added(self.world, sums)

    def _added(self, _: None, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """Sums of gradients, not means: what is divided by is that of the whole update already."""
        work = dist.all_reduce(bucket.buffer(), async_op=True)
        self._handed_in += 1
        if bucket.is_last():
            self.stragglers.handed_over()
        return work.get_future().then(lambda future: future.value()[0])


def shared_counts(
    step: Step, world: World, parts: Sequence[Batch], stragglers: Stragglers
) -> tuple[Counter[str], int]:
    """The counts of all devices together, and the most parts that one of them has."""
    own = _counts(step, parts)
    names = sorted(own) if parts else []
    spent = stragglers.arrived()
    # Ranks without a part know no names; the first rank always has a part, if anybody has.
    every = world.all_gather((names, [own[name] for name in names], len(parts), spent))
    counts = Counter[str]()
    for said, numbers, _, _ in every:
        counts.update(dict(zip(said, numbers, strict=True)))
    stragglers.heard([seconds for *_, seconds in every])
    return counts, max(size for _, _, size, _ in every)


def added(world: World, sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars summed over all devices."""
    names = sorted(sums)
    total = world.all_reduce(torch.stack([sums[name].float() for name in names]))
    return dict(zip(names, total.unbind(), strict=True))


def _counts(step: Step, parts: Sequence[Batch]) -> Counter[str]:
    counts = Counter[str]()
    for part in parts:
        counts.update(step.objective.counts(part))
    return counts
