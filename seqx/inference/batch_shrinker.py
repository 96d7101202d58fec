"""Computation of a batch in smaller parts if it runs out of memory."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from seqx.runtime.devices import raise_torch_oom

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("seqx.inference")


class BatchShrinker:
    """Splits a batch that runs out of memory into halves, and later batches into parts that fit.

    Args:
        device: the device of the model
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._fraction = 1.0  # the largest fraction of a batch that may fit into memory

    def __call__(
        self, batch: Sequence[T], compute: Callable[[Sequence[T]], R]
    ) -> Iterator[tuple[Sequence[T], R]]:
        """Compute a batch, and yield each part that fits with its result, in the order of the batch.

        Raises:
            OutOfMemoryError: a single row does not fit
        """
        size = max(1, int(len(batch) * self._fraction))
        pending = deque(batch[start : start + size] for start in range(0, len(batch), size))
        while pending:
            part = pending.popleft()
            try:
                with raise_torch_oom():
                    results = [compute(part)]
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                results = []  # split after this block, because its traceback keeps tensors in memory
            if results:
                yield part, results[0]
            else:
                pending.extendleft(reversed(self._halves(part, len(batch))))

    def _halves(self, part: Sequence[T], batch_size: int) -> tuple[Sequence[T], Sequence[T]]:
        if self._fraction == 1.0:
            log.warning(
                "%s ran out of memory with a batch of %d inputs; continuing with smaller batches",
                self.device,
                len(part),
            )
        middle = len(part) // 2
        self._fraction = min(self._fraction, middle / batch_size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # cached blocks of a large batch are too fragmented for smaller ones
        return part[:middle], part[middle:]
