"""Find the examples of an update with the largest gradients, and describe them for messages."""

import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from seqx.data.batches import Batches
from seqx.data.loader import Position
from seqx.data.ragged import Integers
from seqx.data.store import Store
from seqx.interfaces.tensors import Batch
from seqx.parallel.parallelism import Step
from seqx.runtime.devices import autocast, raise_torch_oom

_SHOWN = 100  # number of characters of a text that messages show


def worst_examples(
    step: Step,
    batches: Batches,
    at: Position,
    *,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
    most: int = 3,
) -> list[int]:
    """Return the indices of the examples with the largest gradients, at most `most` of them.

    If some gradients are not finite, only examples with such gradients are returned. Groups of examples are
    halved in the order of their gradient norms, so that few norms are computed. The result is approximate,
    because the gradients of a group may cancel. A group that does not fit into memory is halved as well; a
    single example that does not fit is left out. The gradients of parameters are None afterwards.
    """
    tie_breakers = itertools.count()  # so that the heap never compares arrays
    groups: list[tuple[float, int, Integers]] = []

    def push_gradient_norm(rows: Integers) -> None:
        try:
            with raise_torch_oom():
                norm = _gradient_norm(step, batches, rows, at.epoch, device, precision)
        except torch.OutOfMemoryError:
            step.zero_grad(set_to_none=True)
            for half in np.array_split(rows, 2) if len(rows) > 1 else ():
                push_gradient_norm(half)
        else:
            heapq.heappush(groups, (-norm, next(tie_breakers), rows))

    for microbatch in batches.update_batch(batches.plan(at.epoch), at).microbatches:
        push_gradient_norm(microbatch.examples)
    worst: list[int] = []
    largest = 0.0
    while groups and len(worst) < most:
        negative_norm, _, rows = heapq.heappop(groups)
        if worst and math.isfinite(negative_norm) and not math.isfinite(largest):
            break
        if len(rows) == 1:
            largest = negative_norm
            worst.append(int(rows[0]))
        else:
            for half in np.array_split(rows, 2):
                push_gradient_norm(half)
    return worst


def _gradient_norm(
    step: Step,
    batches: Batches,
    rows: Integers,
    epoch: int,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
) -> float:
    """Return the gradient norm of some examples' loss per target token; NaN becomes infinity."""
    batch = batches.batch(rows, epoch)
    divisors = dict.fromkeys(step.objective.trained_on, batch.count)
    norm = sums_and_gradient_norm(step, batch, divisors, device=device, precision=precision)[1]
    return norm if math.isfinite(norm) else math.inf


def sums_and_gradient_norm(
    step: Step,
    batch: Batch,
    divisors: Mapping[str, int],
    *,
    device: torch.device,
    precision: Literal["bf16", "fp32"],
) -> tuple[dict[str, float], float]:
    """Return the objective's sums over a batch, and the norm of the gradient of its loss.

    The norm is not finite if the loss is not. The gradients of parameters are None afterwards.

    Args:
        step: the model and the objective
        batch: the examples
        divisors: the number that divides each sum in the loss
        device: the device of the model
        precision: the precision of matrix products
    """
    step.zero_grad(set_to_none=True)
    with autocast(device, precision):
        terms = step(batch.to(device))
    loss = sum(terms[name] / divisors[name] for name in step.objective.trained_on)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(step.parameters(), float("inf"))
    step.zero_grad(set_to_none=True)
    return {name: float(term.detach()) for name, term in terms.items()}, float(norm + 0 * loss.detach())


def describe_examples(store: Store, examples: Sequence[int]) -> str:
    """Return the index and the lengths of each example and, if the store keeps text, its beginning."""
    return "; ".join(_describe_example(store, index) for index in examples)


def _describe_example(store: Store, index: int) -> str:
    lengths = ", ".join(f"{len(column)} in {name}" for name, column in store[index].items())
    texts = " ||| ".join(_beginning(text) for text in store.text(index).values())
    return f"example {index:,} (tokens: {lengths})" + (f': "{texts}"' if texts else "")


def _beginning(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}..."
