"""The training loop: a generator of updates. Its caller decides when to log, validate, save and stop."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from seqx.data.batches import UpdateBatch
from seqx.errors import UserError
from seqx.parallel.step import Step
from seqx.runtime.devices import raise_torch_oom
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.recovery.conditional_step import conditional_step, create_optimizer_state
from seqx.training.update import Update


def updates(
    accumulation: GradientAccumulation,
    optimizer: torch.optim.Optimizer,
    learning_rate: Callable[[int], float],
    batches: Iterable[UpdateBatch],
    *,
    clip: float | None,
    done: int,
) -> Generator[Update, None, None]:
    """Make one update of the weights for each item that the caller asks for.

    The device itself skips the optimizer's step where the loss or the gradient is not finite, so that the
    host never waits for the device here.

    Args:
        accumulation: computes the gradient of an update
        optimizer: steps once per update
        learning_rate: returns the learning rate of an update, which is counted from 1
        batches: the examples of each update, from update `done + 1` on
        clip: the largest norm of the gradient; None: do not clip
        done: the number of updates made before

    Raises:
        OomRestartError: the ranks cannot compute an update again; restart to go on
        UserError: a single example, or the optimizer, does not fit into memory
    """
    strategy = accumulation.strategy
    strategy.step.train()
    started = time.perf_counter()
    strategy.update_started()
    for number, batch in enumerate(batches, done + 1):
        if strategy.rebuilds_buckets and number == done + 1:
            # The first synchronisation decides on the order of sums; a resumed run must start with it, too.
            with _discard_gradients(strategy.step, accumulation.device):
                accumulation.accumulate_gradients(replace(batch, microbatches=[]), f"update {number}")
        sums, counts, oom_retries = accumulation.accumulate_gradients(batch, f"update {number}")
        rate = learning_rate(number)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        try:
            with raise_torch_oom():
                norm = strategy.clip_grad_norm(clip or float("inf")).detach()
                health = _health(norm, sums["loss"] / max(1, counts["loss"]))
                skipped = health[0] > 0
                conditional_step(skipped, optimizer)
        except torch.OutOfMemoryError:
            raise _no_memory_for_optimizer(f"update {number}", accumulation.device) from None
        optimizer.zero_grad(set_to_none=True)
        yield Update(
            step=number,
            sums=sums,
            counts=counts,
            tokens=batch.target_tokens,
            padding=1 - batch.token_fraction,
            at=batch.position,
            then=batch.next,
            learning_rate=rate,
            norm=norm,
            seconds=time.perf_counter() - started,
            skipped=skipped,
            oom_retries=oom_retries,
            health=health,
        )
        strategy.step.train()
        strategy.update_started()
        started = time.perf_counter()


def rehearse(accumulation: GradientAccumulation, optimizer: torch.optim.Optimizer, batch: UpdateBatch) -> int:
    """Compute an update and discard it, so that out-of-memory errors show before training begins.

    Parameters, buffers and torch's random states are bitwise the same afterwards. Fused optimizers have
    created their state. Returns the number of retries with smaller microbatches.

    Raises:
        OomRestartError: the ranks cannot compute the update again; restart to go on
        UserError: a single example, or the optimizer, does not fit into memory
    """
    step = accumulation.strategy.step
    step.train()
    with _discard_gradients(step, accumulation.device):
        try:
            with raise_torch_oom():
                create_optimizer_state(optimizer)
        except torch.OutOfMemoryError:
            raise _no_memory_for_optimizer("the first update", accumulation.device) from None
        return accumulation.accumulate_gradients(batch, "the largest update", sync=False).oom_retries


@contextmanager
def _discard_gradients(step: Step, device: torch.device) -> Iterator[None]:
    """Drop the gradients that the block computes, and restore buffers and random states after it."""
    buffers = [buffer.clone() for buffer in step.buffers()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    step.zero_grad(set_to_none=True)
    for buffer, before in zip(step.buffers(), buffers, strict=True):
        buffer.copy_(before)


def _no_memory_for_optimizer(update: str, device: torch.device) -> UserError:
    return UserError(
        f"{update}: {device} has too little memory for the step of the optimizer; make the model smaller, "
        "set training.microbatch, or share it among several devices with training.sharding=state"
    )


def _health(norm: Tensor, loss: Tensor) -> Tensor:
    """Return [3]: 1 if norm or loss is not finite, else 0; the norm; the loss. NaN becomes infinity."""
    both = torch.stack([norm.float(), loss.float()]).nan_to_num(torch.inf, torch.inf, -torch.inf)
    return torch.cat([(~both.isfinite().all()).float()[None], both])
