"""The initial hidden state of a recurrent decoder.

Letters in shapes: B sentences, S source tokens, D = d_model, N tensors of a stack's hidden state.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

import seqx

Summary = Literal["mean", "first", "last"]
"""The summary of the source: the mean of the encoder states, the first or the last state."""


def _mean(keep: Tensor) -> Tensor:
    return keep / keep.sum(1, keepdim=True).clamp_min(1)


def _first(keep: Tensor) -> Tensor:
    return keep & (keep.cumsum(1) == 1)


def _last(keep: Tensor) -> Tensor:
    return keep & (keep.cumsum(1) == keep.sum(1, keepdim=True))


_WEIGHTS: dict[Summary, Callable[[Tensor], Tensor]] = {"mean": _mean, "first": _first, "last": _last}
"""Functions from `keep` [B, S], true on tokens, to the weights [B, S] of the states in the summary."""


class InitialState(nn.Module):
    """The hidden state before the first token: tanh(W summary + b) (Bahdanau et al. 2015, appendix A.2.2).

    The paper's summary is the backward state of the first token, which is one half of `first`. Nematus uses
    the mean (Sennrich et al. 2017). The summary of an empty source is 0.

    Args:
        d_model: width of states, D
        tensors: number of tensors of the hidden state of a stack, N
        summary: name of the summary
    """

    def __init__(self, d_model: int, tensors: int, summary: Summary) -> None:
        super().__init__()
        self.tensors = tensors
        self.weights = _WEIGHTS[summary]
        self.linear = nn.Linear(d_model, tensors * d_model)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, memory: seqx.Memory) -> tuple[Tensor, ...]:
        """Return the N tensors [B, D] of the hidden state."""
        weights = self.weights(memory.layout.keep).to(memory.states.dtype)
        states = memory.states.masked_fill(~memory.layout.keep[..., None], 0)
        summary = (weights[:, None] @ states)[:, 0]  # [B, D]
        return torch.tanh(self.linear(summary)).chunk(self.tensors, -1)
