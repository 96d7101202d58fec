"""Answering at once what the memory of a device holds."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("seqx.evaluation")


def fitting(
    rows: Sequence[T], work: Callable[[Sequence[T]], R], device: torch.device
) -> Iterator[tuple[Sequence[T], R]]:
    """Rows and what comes of them: of all at once, or of halves of halves, for want of memory.

    Raises:
        OutOfMemoryError: there is too little for one row
    """
    try:
        found = [work(rows)]
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
        found = []
    if found:
        yield rows, found[0]
        return
    if device.type == "cuda":
        torch.cuda.empty_cache()  # small parts do not fit into what large ones left
    log.warning("%s has too little memory for %d inputs at once; they are done in halves", device, len(rows))
    middle = len(rows) // 2
    yield from fitting(rows[:middle], work, device)
    yield from fitting(rows[middle:], work, device)
