"""Code that searches share: length limits, and when the host reads which sentences are finished."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

import seqx

NOT_FINITE = "the model's logits are not finite: it is damaged, or diverged in training"


@dataclass(frozen=True, kw_only=True)
class LengthLimitedSearch(seqx.Search):
    """A search whose outputs have at most `ratio * source + extra` tokens, EOS counted on neither side.

    At its limit a hypothesis is made to end: EOS follows, and its probability counts. The defaults are
    those of Vaswani et al. 2017, section 6.1: input length + 50.

    Args:
        ratio: tokens of output allowed for each token of the source
        extra: tokens of output allowed besides
    """

    ratio: Annotated[float, Ge(0), Le(1_000)] = 1.0
    extra: Annotated[int, Ge(0), Le(1_000_000)] = 50

    def __post_init__(self) -> None:
        if self.ratio == 0 and self.extra == 0:
            raise ValueError("ratio and extra are both 0, so that every output would be empty")

    def max_lengths(self, lengths: Tensor) -> Tensor:
        """The longest output [B], EOS not counted, for sources of `lengths` [B] tokens, EOS not counted."""
        return (lengths.double() * self.ratio + self.extra).long()


EVERY = 8
"""Decoding steps on a GPU between two reads by the host, each of which waits for the GPU."""


def reads(step: int, steps: int, done: Tensor) -> bool:
    """Return true if the host reads after this step, counted from 0, which sentences are finished."""
    if done.is_cuda:
        return (step + 1) % EVERY == 0 or step + 1 == steps
    return bool(done.any())


def on_host(*columns: Tensor) -> list[Tensor]:
    """Copy tensors [B, ...] of numbers from their device in one copy, because each copy waits."""
    flat = [column.reshape(len(column), -1).double() for column in columns]  # holds integers up to 2^53
    copied = torch.split(torch.cat(flat, 1).cpu(), [part.size(1) for part in flat], 1)
    return [part.view(column.shape) for part, column in zip(copied, columns, strict=True)]


def first(count: int, flags: Tensor) -> Tensor:
    """Return the indices of the `count` true entries of `flags` [B], without waiting for the device."""
    return (~flags).int().argsort(stable=True)[:count]
