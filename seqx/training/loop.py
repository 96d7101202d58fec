"""The training loop, a generator of updates, and an optimizer step that the device itself can skip.

The caller of the generator decides when to log, validate, save and stop.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from seqx.data.loader import UpdateBatch
from seqx.errors import UserError
from seqx.parallel.parallelism import Parallelism
from seqx.runtime.devices import raise_torch_oom
from seqx.training.gradient_accumulation import GradientAccumulation
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
    """Make the updates of the weights, and yield each one.

    If the loss or the gradient is not finite, the device itself skips the step of the optimizer, so that the
    host never waits for the device here.

    Args:
        accumulation: computes the gradient of an update
        optimizer: changes the weights, in one step per update
        learning_rate: returns the learning rate of an update, which is counted from 1
        batches: the examples of each update, beginning with update `done + 1`
        clip: the maximum norm of the gradient; None: do not clip
        done: the number of updates made before this start

    Raises:
        OomRestartError: the ranks cannot compute an update again; restart the run to continue
        UserError: a single example, or the optimizer, does not fit into memory
    """
    strategy = accumulation.strategy
    strategy.step.train()
    started = time.perf_counter()
    strategy.update_started()
    for number, batch in enumerate(batches, done + 1):
        if strategy.rebuilds_buckets and number == done + 1:
            # The first gradient synchronisation of a process fixes the order in which later ones add up
            # gradients. Each start makes one without examples, so that a resumed run gets the same sums.
            with _discard_gradients(strategy, accumulation.device):
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
            raise _optimizer_oom_error(f"update {number}", accumulation.device) from None
        optimizer.zero_grad(set_to_none=True)
        strategy.update_finished()
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
    """Compute an update and discard it, so that an out-of-memory error occurs before training begins.

    Parameters, buffers and torch's random states are bitwise the same afterwards. A fused Adam or AdamW has
    created its state. Returns the number of retries with smaller microbatches.

    Raises:
        OomRestartError: the ranks cannot compute the update again; restart the run to continue
        UserError: a single example, or the optimizer, does not fit into memory
    """
    accumulation.strategy.step.train()
    with _discard_gradients(accumulation.strategy, accumulation.device):
        try:
            with raise_torch_oom():
                create_optimizer_state(optimizer)
        except torch.OutOfMemoryError:
            raise _optimizer_oom_error("the first update", accumulation.device) from None
        return accumulation.accumulate_gradients(batch, "the largest update", sync=False).oom_retries


@contextmanager
def _discard_gradients(strategy: Parallelism, device: torch.device) -> Iterator[None]:
    """Drop the gradients that the block computes, and restore buffers and random states after it."""
    buffers = [buffer.clone() for buffer in strategy.step.buffers()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    strategy.drop_gradients()
    for buffer, before in zip(strategy.step.buffers(), buffers, strict=True):
        buffer.copy_(before)


def _optimizer_oom_error(update: str, device: torch.device) -> UserError:
    return UserError(
        f"{update}: {device} is out of memory in the step of the optimizer; set a smaller "
        "training.microbatch, make the model smaller, or shard it over several devices with "
        "training.parallel=fsdp"
    )


def _health(norm: Tensor, loss: Tensor) -> Tensor:
    """Return [3]: 1 if norm or loss is not finite, else 0; the norm; the loss. Infinity replaces NaN."""
    norm_and_loss = torch.stack([norm.float(), loss.float()]).nan_to_num(torch.inf, torch.inf, -torch.inf)
    return torch.cat([(~norm_and_loss.isfinite().all()).float()[None], norm_and_loss])


def conditional_step(skip: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Step the optimizer, but change neither parameters nor state if `skip`, a bool on the device, is true.

    Fused optimizers skip the step themselves: they read `found_inf` on the device, as with
    `torch.amp.GradScaler`. For other optimizers the device restores parameters and state from a copy, which
    needs memory. If the state cannot be restored on the device (the first step will create it, or it is on
    the host, like the counters of some optimizers), the host waits for `skip` and decides.
    """
    if not _has_state(optimizer):
        # A fused SGD that skips its first step, for example, leaves its momentum uninitialised.
        if not bool(skip):
            optimizer.step()
    elif getattr(optimizer, "_step_supports_amp_scaling", False):
        _step_with_found_inf(skip, optimizer)
    elif _is_restorable(optimizer):
        _step_and_restore(skip, optimizer)
    elif not bool(skip):
        optimizer.step()


def create_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Create the state of a fused Adam or AdamW that has none, by a skipped step; ignore other optimizers."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    if optimizer.state or not fused or not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return
    for p in parameters:
        p.grad = torch.zeros_like(p)
    _step_with_found_inf(torch.ones((), dtype=torch.bool, device=parameters[0].device), optimizer)
    optimizer.zero_grad(set_to_none=True)


def _step_with_found_inf(skip: Tensor, optimizer: torch.optim.Optimizer) -> None:
    attributes: object = optimizer
    vars(attributes).update(found_inf=skip.float(), grad_scale=None)
    try:
        optimizer.step()
    finally:
        del vars(attributes)["found_inf"], vars(attributes)["grad_scale"]


def _with_gradient(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    return (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None)


def _has_state(optimizer: torch.optim.Optimizer) -> bool:
    return all(optimizer.state.get(p) for p in _with_gradient(optimizer))


def _is_restorable(optimizer: torch.optim.Optimizer) -> bool:
    """Return true if all of the state is tensors on the devices of their parameters."""
    return all(
        all(isinstance(value, Tensor) and value.device == p.device for value in optimizer.state[p].values())
        for p in _with_gradient(optimizer)
    )


@torch.no_grad()
def _step_and_restore(skip: Tensor, optimizer: torch.optim.Optimizer) -> None:
    parameters = list(_with_gradient(optimizer))
    copies = [
        (p.clone(), {name: value.clone() for name, value in optimizer.state[p].items()}) for p in parameters
    ]
    optimizer.step()
    for p, (value, state) in zip(parameters, copies, strict=True):
        p.copy_(torch.where(skip, value, p))
        for name, old in state.items():
            current = optimizer.state[p][name]
            current.copy_(torch.where(skip, old, current))
