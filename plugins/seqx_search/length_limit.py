"""The length limit of all searches, and functions that move results from the device to the host."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

import seqx

NOT_FINITE = (
    "the logits of the model are not finite, because it is damaged or diverged in training; use another model"
)


@dataclass(frozen=True, kw_only=True)
class LengthLimitedSearch(seqx.Search):
    """A search whose outputs have at most `ratio * source length + extra` tokens, EOS excluded in both.

    A hypothesis of this length is forced to end: EOS follows, and its log-probability is added. The default
    limit is that of Vaswani et al. 2017, section 6.1: input length + 50.

    Args:
        ratio: output tokens for each source token
        extra: additional output tokens
    """

    ratio: Annotated[float, Ge(0), Le(1_000)] = 1.0
    extra: Annotated[int, Ge(0), Le(1_000_000)] = 50

    def __post_init__(self) -> None:
        if self.ratio == 0 and self.extra == 0:
            raise ValueError(
                "ratio and extra are both 0, so every output would be empty; increase one of them"
            )

    def max_lengths(self, lengths: Tensor) -> Tensor:
        """Return the maximum output tokens [B] for sources of `lengths` [B] tokens, both without EOS."""
        return (lengths.double() * self.ratio + self.extra).long()


POLL_INTERVAL = 8
"""The number of decoding steps on a GPU after which the host copies results. Each copy waits for the GPU."""


def should_poll(step: int, steps: int, done: Tensor) -> bool:
    """Return true if the host should copy results after a step.

    Args:
        step: the number of the step, from 0
        steps: the number of steps
        done: true for sentences that are done [B]
    """
    if done.is_cuda:
        return (step + 1) % POLL_INTERVAL == 0 or step + 1 == steps
    return bool(done.any())


def copy_to_host(*tensors: Tensor) -> list[Tensor]:
    """Copy several tensors [B, ...] from their device at once, because each copy waits for the device.

    The copies are float64, which represents integers up to 2^53 exactly.
    """
    flat = [tensor.reshape(len(tensor), -1).double() for tensor in tensors]
    copies = torch.split(torch.cat(flat, 1).cpu(), [columns.size(1) for columns in flat], 1)
    return [copy.view(tensor.shape) for copy, tensor in zip(copies, tensors, strict=True)]


def true_indices(flags: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` true entries of `flags` [B], without waiting for the device."""
    return (~flags).int().argsort(stable=True)[:count]
