"""Pooling of the encoder states of a sentence into one vector.

Letters in shapes: B sentences, S source tokens, D = d_model.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "max", "first"]


def mean(states: Tensor, keep: Tensor) -> Tensor:
    """Return the mean [B, D] of the states [B, S, D] of all tokens; `keep` [B, S] is false for padding."""
    return states.masked_fill(~keep[..., None], 0).sum(1) / keep.sum(1, keepdim=True)


def maximum(states: Tensor, keep: Tensor) -> Tensor:
    """Return the maximum [B, D] of the states [B, S, D] of all tokens in each dimension."""
    return states.masked_fill(~keep[..., None], -torch.inf).amax(1)


def first(states: Tensor, _keep: Tensor) -> Tensor:
    """Return the state [B, D] of the first token."""
    return states[:, 0]


POOLINGS: dict[Pooling, Callable[[Tensor, Tensor], Tensor]] = {"mean": mean, "max": maximum, "first": first}
