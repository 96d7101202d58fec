"""Answering at once what the memory of a device holds."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from seqx.runtime.devices import raise_torch_oom

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("seqx.inference")


class Fitting:
    """Computes rows together, or halves of halves of them, for want of memory; what did not fit it remembers.

    Args:
        device: whose memory it is
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._share = 1.0  # of the rows that are given together, so many fit

    def __call__(
        self, rows: Sequence[T], work: Callable[[Sequence[T]], R]
    ) -> Iterator[tuple[Sequence[T], R]]:
        """Parts of the rows, and what comes of each.

        Raises:
            OutOfMemoryError: there is too little for one row
        """
        size = max(1, int(len(rows) * self._share))
        for start in range(0, len(rows), size):
            yield from self._halved(rows[start : start + size], work, len(rows))

    def _halved(
        self, part: Sequence[T], work: Callable[[Sequence[T]], R], together: int
    ) -> Iterator[tuple[Sequence[T], R]]:
        try:
            with raise_torch_oom():
                found = [work(part)]
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise
            found = []
        if found:
            yield part, found[0]
            return
        if self._share == 1.0:
            log.warning(
                "%s has too little memory for %d inputs at once; they are done in halves",
                self.device,
                len(part),
            )
        middle = len(part) // 2
        self._share = min(self._share, middle / together)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # small parts do not fit into what large ones left
        yield from self._halved(part[:middle], work, together)
        yield from self._halved(part[middle:], work, together)
