"""Data parallelism: every rank has the whole model (torch's DistributedDataParallel).

Li et al. 2020 (arXiv:2006.15704).
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket  # torch.distributed exports it without types
from torch.nn.parallel import DistributedDataParallel

from seqx.errors import UserError
from seqx.interfaces.tensors import Batch
from seqx.parallel.parallelism import Parallelism, Step
from seqx.parallel.process_group import World


class DDP(Parallelism):
    """Data parallelism: each rank has the whole model; gradients are added up in the last backward pass."""

    rebuilds_buckets = True

    def setup(self, step: Step, world: World, device: torch.device) -> None:
        """Move the model to the device and wrap it."""
        super().setup(step, world, device)
        self._module = self._wrap()
        self._reduced_buckets = 0  # gradient buckets of this update that are in the all-reduce

    def _wrap(self, *, after_oom: bool = False) -> DistributedDataParallel:
        # Torch would broadcast buffers in each forward pass, but ranks run different numbers of microbatches.
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # about a renamed argument
            module = DistributedDataParallel(
                self.step, broadcast_buffers=False, gradient_as_bucket_view=True, init_sync=not after_oom
            )
        module.register_comm_hook(None, self._all_reduce)
        return module

    def global_counts(self, batches: Sequence[Batch]) -> Counter[str]:
        """Return the counts over all ranks, given this rank's batches (collective)."""
        # Torch rebuilds its buckets in the next forward pass. A rank that runs out of memory may not reach
        # it, so all ranks rebuild them here.
        self._module.reducer._rebuild_buckets()  # noqa: SLF001  as torch's own Join does
        return super().global_counts(batches)

    def abort_update(self, *, sync: bool) -> None:
        """Send zeros instead of the gradients that the other ranks still wait for.

        `sync`: true if the other ranks wait for gradients of this one.

        Raises:
            OutOfMemoryError: not even the zeros fit into memory
        """
        if not sync:
            return
        zeros = self._module.reducer._get_zeros_like_grad_buckets()  # noqa: SLF001  as torch's own Join does
        for future in [self._all_reduce(None, bucket) for bucket in zeros[self._reduced_buckets :]]:
            future.wait()

    def check_all_grads(self) -> None:
        """Check that each parameter has a gradient; otherwise the other ranks would wait for it for ever.

        Raises:
            UserError: a parameter has no gradient
        """
        trainable = ((name, p) for name, p in self.step.named_parameters() if p.requires_grad)
        without_gradient = [name for name, p in trainable if p.grad is None]
        if without_gradient:
            names = ", ".join(without_gradient[:3])
            raise UserError(
                f"training.objective: no gradient for {names} ({len(without_gradient)} in all); with several "
                "ranks each needs one, so use an objective that depends on all parameters of the model"
            )

    def reset_after_oom(self) -> None:
        """Wrap the module again; this drops the state of a gradient synchronisation that did not complete."""
        del self._module
        super().reset_after_oom()
        self._module = self._wrap(after_oom=True)
        self._reduced_buckets = 0

    def gradient_sync(self, *, last: bool) -> AbstractContextManager[None]:
        """Return the context of one microbatch; gradients of all ranks are added up in the `last` one."""
        return contextlib.nullcontext() if last else self._module.no_sync()

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the objective's named sums over a batch."""
        return self._module(batch)

    def reduce_sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums added up over all ranks (collective)."""
        self._reduced_buckets = 0
        return super().reduce_sums(sums)

    def _all_reduce(self, _: None, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """Add up a bucket of gradients over all ranks; torch's default hook would average them."""
        work = dist.all_reduce(bucket.buffer(), async_op=True)
        self._reduced_buckets += 1
        if bucket.is_last():
            self.stragglers.part_done()
        return work.get_future().then(lambda future: future.value()[0])
