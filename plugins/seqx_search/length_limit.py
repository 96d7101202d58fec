"""The length limit that all searches share, and how the host learns which sentences are finished."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

import seqx

NOT_FINITE = "the model's logits are not finite: it is damaged, or diverged in training"


@dataclass(frozen=True, kw_only=True)
class LengthLimitedSearch(seqx.Search):
    """A search whose outputs have at most `ratio * source + extra` tokens, EOS excluded on both sides.

    At the limit a hypothesis is forced to end: EOS follows, and its probability counts. The defaults are
    those of Vaswani et al. 2017, section 6.1: input length + 50.

    Args:
        ratio: output tokens allowed for each source token
        extra: further output tokens allowed
    """

    ratio: Annotated[float, Ge(0), Le(1_000)] = 1.0
    extra: Annotated[int, Ge(0), Le(1_000_000)] = 50

    def __post_init__(self) -> None:
        if self.ratio == 0 and self.extra == 0:
            raise ValueError("ratio and extra are both 0, so that every output would be empty")

    def max_lengths(self, lengths: Tensor) -> Tensor:
        """Return the maximum output tokens [B] for sources of `lengths` [B] tokens, both without EOS."""
        return (lengths.double() * self.ratio + self.extra).long()


POLL_INTERVAL = 8
"""Decoding steps on a GPU between two reads by the host. Each read waits for the GPU."""


def should_poll(step: int, steps: int, done: Tensor) -> bool:
    """Return true if the host reads after this step, counted from 0, which sentences are finished."""
    if done.is_cuda:
        return (step + 1) % POLL_INTERVAL == 0 or step + 1 == steps
    return bool(done.any())


def copy_to_host(*tensors: Tensor) -> list[Tensor]:
    """Copy tensors [B, ...] of numbers from their device in one copy, because each copy waits.

    They are copied as float64, which represents integers up to 2^53 exactly.
    """
    flat = [tensor.reshape(len(tensor), -1).double() for tensor in tensors]
    copied = torch.split(torch.cat(flat, 1).cpu(), [part.size(1) for part in flat], 1)
    return [part.view(tensor.shape) for part, tensor in zip(copied, tensors, strict=True)]


def true_indices(flags: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` true entries of `flags` [B], without waiting for the device."""
    return (~flags).int().argsort(stable=True)[:count]
