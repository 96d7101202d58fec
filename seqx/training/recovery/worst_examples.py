"""Which examples of an update went wrong, and how to tell people of them."""

import heapq
import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from seqx.data.batches import Batches, Position
from seqx.data.store import Integers, Store
from seqx.parallel.step import Step
from seqx.runtime.devices import autocast, raise_torch_oom

_SHOWN = 100  # characters of a text


def worst_examples(
    step: Step,
    batches: Batches,
    at: Position,
    *,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
    most: int = 3,
) -> list[int]:
    """The examples of an update whose gradients are not finite, by their numbers; if none are, the largest.

    Parts are halved in the order of their gradients' sizes, so that few are computed, and where there is too
    little memory for them; an example that does not fit alone is left out. Leaves no gradients.
    """
    ties = itertools.count()
    parts: list[tuple[float, int, Integers]] = []

    def push_gradient_norm(rows: Integers) -> None:
        try:
            with raise_torch_oom():
                size = _size(step, batches, rows, at.epoch, device, precision)
        except torch.OutOfMemoryError:
            step.zero_grad(set_to_none=True)
            for half in np.array_split(rows, 2) if len(rows) > 1 else ():
                push_gradient_norm(half)
        else:
            heapq.heappush(parts, (-size, next(ties), rows))

    for microbatch in batches.update_batch(batches.plan(at.epoch), at).microbatches:
        push_gradient_norm(microbatch.examples)
    found: list[int] = []
    largest = 0.0
    while parts and len(found) < most:
        size, _, rows = heapq.heappop(parts)
        if found and math.isfinite(size) and not math.isfinite(largest):
            break
        if len(rows) == 1:
            largest = size
            found.append(int(rows[0]))
        else:
            for half in np.array_split(rows, 2):
                push_gradient_norm(half)
    return found


def _size(
    step: Step,
    batches: Batches,
    rows: Integers,
    epoch: int,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
) -> float:
    """The norm of the gradient of the sums over some examples, for each target token; infinite for NaN."""
    step.zero_grad(set_to_none=True)
    batch = batches.batch(rows, epoch)
    with autocast(device, precision):
        terms = step(batch.to(device))
    loss = sum(terms[name] / batch.count for name in step.objective.trained_on)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(step.parameters(), float("inf"))
    step.zero_grad(set_to_none=True)
    size = float(norm + 0 * loss.detach())
    return size if math.isfinite(size) else math.inf


def named(store: Store, examples: Sequence[int]) -> str:
    """Examples by their numbers in the store, with the beginnings of their texts where it keeps them."""
    return "; ".join(_named(store, number) for number in examples)


def _named(store: Store, number: int) -> str:
    lengths = ", ".join(f"{len(column)} in {name}" for name, column in store[number].items())
    texts = " ||| ".join(_short(text) for text in store.text(number).values())
    return f"example {number} (tokens: {lengths})" + (f': "{texts}"' if texts else "")


def _short(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}..."
