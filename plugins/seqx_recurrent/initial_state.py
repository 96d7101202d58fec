"""What a decoder remembers before the first token.

Letters in shapes: B sentences, S source tokens, D = d_model, N tensors that a stack remembers.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

import seqx

Summary = Literal["mean", "first", "last"]


def _mean(keep: Tensor) -> Tensor:
    return keep / keep.sum(1, keepdim=True).clamp_min(1)


def _first(keep: Tensor) -> Tensor:
    return keep & (keep.cumsum(1) == 1)


def _last(keep: Tensor) -> Tensor:
    return keep & (keep.cumsum(1) == keep.sum(1, keepdim=True))


_SHARES: dict[Summary, Callable[[Tensor], Tensor]] = {"mean": _mean, "first": _first, "last": _last}
"""From which places are kept [B, S] to how much each counts."""


class InitialState(nn.Module):
    """A tanh layer from a summary of the source to what is remembered first (Bahdanau et al. 2015, A.2.2).

    The paper's summary is the backward state of the first token, of which `first` is the half that matters;
    the mean is that of Nematus, Sennrich et al. 2017. Of no source the summary is 0.
    """

    def __init__(self, d_model: int, tensors: int, summary: Summary) -> None:
        super().__init__()
        self.tensors = tensors
        self.shares = _SHARES[summary]
        self.linear = nn.Linear(d_model, tensors * d_model)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, memory: seqx.Memory) -> tuple[Tensor, ...]:
        """N tensors [B, D]."""
        shares = self.shares(memory.layout.keep).to(memory.states.dtype)
        states = memory.states.masked_fill(~memory.layout.keep[..., None], 0)
        summary = (shares[:, None] @ states)[:, 0]  # [B, D]
        return torch.tanh(self.linear(summary)).chunk(self.tensors, -1)
