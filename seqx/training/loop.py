"""The training loop: a generator of updates. Whoever iterates decides about logging, saving and stopping."""

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqx.data.batches import UpdateBatch
from seqx.errors import TooLittleMemoryError, UserError
from seqx.interfaces.values import Batch, rows
from seqx.parallel.ddp import Strategy
from seqx.parallel.step import Step
from seqx.runtime.devices import autocast, raise_torch_oom
from seqx.training.recovery.conditional_step import conditional_step, create_optimizer_state
from seqx.training.update import Update

Part = tuple[Batch, NDArray[np.integer[Any]]]
"""Sentences that are computed at once, and their examples' numbers."""

Named = Callable[[Sequence[int]], str]
"""Says which examples these are, for people."""


def numbers(examples: Sequence[int]) -> str:
    """Examples by their numbers."""
    return ", ".join(f"example {number}" for number in examples)


def updates(
    strategy: Strategy,
    optimizer: torch.optim.Optimizer,
    rates: Callable[[int], float],
    portions: Iterable[UpdateBatch],
    *,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
    clip: float | None,
    done: int,
    named: Named = numbers,
) -> Generator[Update, None, None]:
    """Train for as long as someone asks for the next update.

    Each sum of the objective is divided once, by its count over the whole update, whatever the batches that
    the update was cut into. An update for a part of which the device has too little memory is computed again,
    in smaller parts. One whose loss or gradient is not finite is left out, by the device itself: nobody waits
    for it here.

    Args:
        strategy: what is trained, and how devices share it
        optimizer: steps once an update
        rates: the learning rate of each update
        portions: the batches of each update, from update `done + 1` on
        device: where it is computed
        precision: of matrix products
        clip: the largest norm of the gradient; None: any
        done: updates made before
        named: says which example it is that needs too much memory

    Raises:
        TooLittleMemoryError: for a part of an update that cannot be computed again at once
        UserError: one example alone, or the optimizer, needs too much memory
    """
    step = strategy.step
    step.train()
    began = time.perf_counter()
    strategy.update_started()
    for number, portion in enumerate(portions, done + 1):
        update = f"update {number}"
        if strategy.rebuilds_buckets and number == done + 1:
            with _learning_nothing(strategy.step, device):
                _computed(
                    strategy, update, replace(portion, microbatches=[], rows=[]), device, precision, named
                )
        sums, counts, oom_retries = _computed(strategy, update, portion, device, precision, named)
        rate = rates(number)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        try:
            with raise_torch_oom():
                norm = strategy.clip_grad_norm(clip or float("inf")).detach()
                health = _health(norm, sums["loss"] / max(1, counts["loss"]))
                skipped = health[0] > 0
                conditional_step(skipped, optimizer)
        except torch.OutOfMemoryError:
            raise _too_much_for_the_optimizer(update, device) from None
        optimizer.zero_grad(set_to_none=True)
        yield Update(
            step=number,
            sums=sums,
            counts=counts,
            tokens=portion.target_tokens,
            padding=1 - portion.token_fraction,
            at=portion.position,
            then=portion.next,
            learning_rate=rate,
            norm=norm,
            seconds=time.perf_counter() - began,
            skipped=skipped,
            oom_retries=oom_retries,
            health=health,
        )
        step.train()
        strategy.update_started()
        began = time.perf_counter()


def rehearse(
    strategy: Strategy,
    optimizer: torch.optim.Optimizer,
    portion: UpdateBatch,
    *,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
    named: Named = numbers,
) -> int:
    """Compute an update and learn nothing from it, so that too little memory for it shows before training.

    Parameters, buffers and torch's random states are afterwards what they were, bitwise; fused optimizers
    have made their state. Returns how often it was computed again in smaller parts.

    Raises:
        TooLittleMemoryError: for a part of it, without which the others cannot go on
        UserError: one example alone, or the optimizer, needs too much memory
    """
    strategy.step.train()
    with _learning_nothing(strategy.step, device):
        try:
            with raise_torch_oom():
                create_optimizer_state(optimizer)
        except torch.OutOfMemoryError:
            raise _too_much_for_the_optimizer("the first update", device) from None
        update = "the largest update"
        _, _, oom_retries = _computed(strategy, update, portion, device, precision, named, exchange=False)
    return oom_retries


@contextmanager
def _learning_nothing(step: Step, device: torch.device) -> Iterator[None]:
    """Whatever is computed in the block leaves no gradients, and buffers and random states as they were."""
    buffers = [buffer.clone() for buffer in step.buffers()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    step.zero_grad(set_to_none=True)
    for buffer, before in zip(step.buffers(), buffers, strict=True):
        buffer.copy_(before)


def _too_much_for_the_optimizer(update: str, device: torch.device) -> UserError:
    return UserError(
        f"{update}: {device} has too little memory for the step of the optimizer; make the model smaller, "
        "set training.microbatch, or share it among several devices with training.sharding=state"
    )


def _health(norm: Tensor, loss: Tensor) -> Tensor:
    """[3]: 1 if either is not finite, else 0; both, infinite where they are not a number."""
    both = torch.stack([norm.float(), loss.float()]).nan_to_num(torch.inf, torch.inf, -torch.inf)
    return torch.cat([(~both.isfinite().all()).float()[None], both])


def _computed(
    strategy: Strategy,
    update: str,
    portion: UpdateBatch,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
    named: Named,
    *,
    exchange: bool = True,
) -> tuple[dict[str, Tensor], Counter[str], int]:
    """Gradients of the quotients of sums and counts; both, and how often the update was computed again."""
    parts: list[Part] = list(zip(portion.microbatches, portion.rows, strict=True))
    parts = _smaller(parts, strategy.limit or math.inf)
    with _as_shortage(update, device, parts):
        counts = strategy.global_counts([part for part, _ in parts])
    oom_retries = 0
    while True:
        sums, missing = _gradients(
            strategy, parts, portion.dummy, counts, device, precision, exchange=exchange
        )
        if missing is not None and len(missing[1]) == 1:
            raise UserError(
                f"{update}: {device} has too little memory for a single example: "
                f"{named([int(missing[1][0])])}; make the model smaller, or leave out long examples "
                "(the task's setting `longest`, where it has one)"
            )
        if missing is not None:
            with _as_shortage(update, device, [missing]):
                strategy.abort_update(exchange=exchange)
        elif exchange:
            strategy.check_all_grads()
        if not strategy.any(missing is not None):
            return strategy.reduce_sums(sums) if exchange else sums, counts, oom_retries
        strategy.step.zero_grad(set_to_none=True)
        with _as_shortage(update, device, parts):
            strategy.reset_after_oom()
        oom_retries += 1
        if missing is not None:
            strategy.limit = min(_places(missing), strategy.limit or math.inf)
            parts = _smaller(parts, strategy.limit)


@contextmanager
def _as_shortage(update: str, device: torch.device, parts: list[Part]) -> Iterator[None]:
    """Too little memory where others would wait for ever: all are to begin again, with smaller parts."""
    try:
        with raise_torch_oom():
            yield
    except torch.OutOfMemoryError:
        places = max((_places(part) for part in parts if len(part[1]) > 1), default=None)
        if places is None:
            raise UserError(
                f"{update}: {device} has too little memory for the model and its gradients; make the model "
                "smaller, or share it among more devices with training.sharding=state"
            ) from None
        raise TooLittleMemoryError(
            f"{update}: {device} has too little memory for {places} places at once; it goes on in "
            "smaller parts when it is started again, as seqx run --devices does, and torchrun "
            "--max-restarts",
            places,
        ) from None


def _smaller(parts: list[Part], limit: float) -> list[Part]:
    """Parts of so many places or more as halves of halves, down to single rows."""
    halved = [half for part in parts for half in (_halves(part) if _places(part) >= limit else [part])]
    return parts if len(halved) == len(parts) else _smaller(halved, limit)


def _places(part: Part) -> int:
    """How many places of columns a part has, padding included."""
    return sum(column.ids.numel() for column in part[0].columns.values())


def _halves(part: Part) -> list[Part]:
    """The rows of a part as two; one row is left as it is."""
    batch, numbers = part
    every = torch.arange(len(numbers))
    if len(every) == 1:
        return [part]
    halves: list[Part] = []
    for index in every.tensor_split(2):
        columns = {name: rows(tokens, index) for name, tokens in batch.columns.items()}
        halves.append((Batch(columns, int(columns["target"].layout.keep.sum())), numbers[index.numpy()]))
    return halves


def _gradients(
    strategy: Strategy,
    parts: list[Part],
    spare: Part | None,
    counts: Mapping[str, int],
    device: torch.device,
    precision: Literal["bf16", "fp32"],
    *,
    exchange: bool,
) -> tuple[dict[str, Tensor], Part | None]:
    """The sums over the parts, whose gradients are added up, and which of them needs too much memory.

    Gradients are exchanged while the last part is computed.
    """
    sums: dict[str, Tensor] = {}

    def add(part: Batch, share: float) -> None:
        with autocast(device, precision):
            terms = strategy(part.to(device))
        loss = sum(share * terms[name] / max(1, counts[name]) for name in strategy.step.objective.learnt)
        assert isinstance(loss, Tensor), "an objective learns from at least one sum"
        loss.backward()  # type: ignore[no-untyped-call]
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) + share * term.detach()

    shares = [(part, 1.0) for part in parts]
    idle = strategy.num_microbatches(len(shares)) - len(shares)
    if idle:  # devices take part in what others compute, too
        assert spare is not None, "an update that devices share has a spare part"
        shares += [(spare, 0.0)] * idle
    for number, (part, share) in enumerate(shares, 1):
        try:
            with raise_torch_oom(), strategy.gradient_sync(last=exchange and number == len(shares)):
                add(part[0], share)
        except torch.OutOfMemoryError:
            return {}, part
    return sums, None
