"""The training loop: a generator of updates. Whoever iterates decides about logging, saving and stopping."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqx.data.batches import Position
from seqx.data.batches import Update as Plan
from seqx.devices import autocast
from seqx.errors import UserError
from seqx.interfaces.values import Batch, rows
from seqx.training.spread import Spread
from seqx.training.step import Step


@dataclass(frozen=True, kw_only=True)
class Update:
    """One step of the optimizer, after it was made."""

    step: int  # counted from 1
    sums: dict[str, Tensor]  # on the device, so that nobody waits for it who does not look
    counts: Mapping[str, int]
    tokens: int  # target tokens
    padding: float  # the share of computed places, of all columns, that hold no token
    then: Position  # where the batches of the next update are
    learning_rate: float
    norm: Tensor  # of the gradient, before clipping
    seconds: float  # from asking for its batches to the end of the optimizer's work
    skipped: bool  # the gradient was not finite, and nothing was learnt from this update

    def value(self, name: str) -> float:
        """The mean of what the objective calls `name`, over the update."""
        return float(self.sums[name] / self.counts[name])

    @property
    def loss(self) -> float:
        """The mean loss in nats a target token."""
        return self.value("loss")


def updates(
    step: Step,
    optimizer: torch.optim.Optimizer,
    rates: Callable[[int], float],
    plans: Iterable[Plan],
    *,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
    clip: float | None,
    done: int,
    bad: int,
    spread: Spread | None = None,
) -> Generator[Update, None, None]:
    """Train for as long as someone asks for the next update.

    Each sum of the objective is divided once, by its count over the whole update, whatever the batches that
    the update was cut into. Batches that a device has too little memory for are computed again as halves.

    Args:
        step: what is trained
        optimizer: steps once an update
        rates: the learning rate of each update
        plans: the batches of each update, from update `done + 1` on
        device: where it is computed
        precision: of matrix products
        clip: the largest norm of the gradient; None: any
        done: updates made before
        bad: how many updates in a row may have a gradient that is not finite
        spread: how devices share `step`; None: there is one

    Raises:
        UserError: more than `bad` updates in a row were not finite, or one example needs too much memory
    """
    skipped = 0
    spread = spread or Spread(step)
    step.train()
    began = time.perf_counter()
    spread.began()
    for number, plan in enumerate(plans, done + 1):
        sums, counts = _computed(spread, number, plan, device, precision)
        rate = rates(number)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        norm = spread.clipped(clip or float("inf"))
        finite = bool(norm.isfinite())
        if finite:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        skipped = 0 if finite else skipped + 1
        if skipped > bad:
            raise UserError(
                f"update {number}: the gradient was not finite {skipped} times in a row; "
                "lower the learning rate (training.schedule), or set training.precision=fp32"
            )
        yield Update(
            step=number,
            sums=sums,
            counts=counts,
            tokens=plan.count,
            padding=1 - plan.useful,
            then=plan.next,
            learning_rate=rate,
            norm=norm.detach(),
            seconds=time.perf_counter() - began,
            skipped=not finite,
        )
        step.train()
        spread.began()
        began = time.perf_counter()


def _computed(
    spread: Spread, number: int, plan: Plan, device: torch.device, precision: Literal["bf16", "fp32"]
) -> tuple[dict[str, Tensor], Counter[str]]:
    """What `_gradients` gives, of batches small enough for the device."""
    parts: Sequence[Batch] = plan.parts
    while True:
        try:
            return _gradients(spread, parts, plan.spare, device, precision)
        except torch.OutOfMemoryError:
            if spread.shared:  # the other devices are waiting for gradients that will not come
                raise UserError(
                    f"update {number}: {device} has too little memory; set training.microbatch to fewer "
                    "places, and the same command goes on"
                ) from None
            spread.step.zero_grad(set_to_none=True)
            halves = [half for part in parts for half in _halves(part)]
        if len(halves) == len(parts):
            raise UserError(
                f"update {number}: {device} has too little memory even for single examples; "
                "make the model smaller, or leave out long examples"
            )
        parts = halves


def _halves(batch: Batch) -> list[Batch]:
    """The rows of a batch as two batches; one row is left as it is."""
    every = torch.arange(batch.columns["target"].ids.size(0))
    if len(every) == 1:
        return [batch]
    halves = []
    for index in every.tensor_split(2):
        columns = {name: rows(tokens, index) for name, tokens in batch.columns.items()}
        halves.append(Batch(columns, int(columns["target"].layout.keep.sum())))
    return halves


def _gradients(
    spread: Spread,
    parts: Sequence[Batch],
    spare: Batch | None,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
) -> tuple[dict[str, Tensor], Counter[str]]:
    """Gradients of the quotients of sums and counts over the update; the sums and the counts."""
    counts, rounds = spread.agreed(parts)
    idle = [spare] * (rounds - len(parts))  # devices take part in what others compute, too
    sums: dict[str, Tensor] = {}
    for number, part in enumerate([*parts, *idle], 1):
        assert part is not None, "an update that devices share has a spare part"
        share = 1.0 if number <= len(parts) else 0.0
        with spread.exchanging(last=number == rounds):
            with autocast(device, precision):
                terms = spread(part.to(device))
            loss = sum(share * terms[name] / counts[name] for name in spread.step.objective.learnt)
            assert isinstance(loss, Tensor), "an objective learns from at least one sum"
            loss.backward()  # type: ignore[no-untyped-call]
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) + share * term.detach()
    return spread.total(sums), counts
