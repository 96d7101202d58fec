"""From the states of a sentence to one vector.

Letters in shapes: B sentences, S source tokens, D = d_model.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "max", "first"]


def mean(states: Tensor, keep: Tensor) -> Tensor:
    """The mean [B, D] of the kept states [B, S, D]."""
    return states.masked_fill(~keep[..., None], 0).sum(1) / keep.sum(1, keepdim=True)


def largest(states: Tensor, keep: Tensor) -> Tensor:
    """The largest value [B, D] in each dimension of the kept states [B, S, D]."""
    return states.masked_fill(~keep[..., None], -torch.inf).amax(1)


def first(states: Tensor, _keep: Tensor) -> Tensor:
    """The first state [B, D] of each sentence [B, S, D]."""
    return states[:, 0]


POOLINGS: dict[Pooling, Callable[[Tensor, Tensor], Tensor]] = {"mean": mean, "max": largest, "first": first}
