"""Multi-head attention whose scores are no dot product of projected queries and keys.

Letters in shapes: B sentences, T queries, S keys, D = d_model, H heads, K the width of a head's queries and
keys.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import MultiHeadAttention


class AdditiveAttention(MultiHeadAttention):
    """Scores by a feed-forward network with one hidden layer (Bahdanau et al. 2015, section 3.1 and A.1.2).

    A score is v . tanh(W q + U k). All [B, H, T, S, K] hidden values are in memory at once.

    Args:
        heads: number of networks, each with its own values
        d_k: width of each network's hidden layer; d_model / heads when left out
        d_v: width of each head's values; d_model / heads when left out
        bias: whether the projections add a bias
        dropout: share of attention weights dropped in training

    Raises:
        ValueError: when heads does not divide d_model and d_k or d_v is left out
    """

    def __init__(
        self,
        d_model: int,
        *,
        heads: Annotated[int, Gt(0)] = 1,
        d_k: Annotated[int, Gt(0)] | None = None,
        d_v: Annotated[int, Gt(0)] | None = None,
        bias: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__(d_model, heads=heads, d_k=d_k, d_v=d_v, bias=bias, dropout=dropout, scaled=False)
        self.score = nn.Parameter(torch.randn(heads, 1, self.d_k) * self.d_k**-0.5)

    def mix(self, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, bias: Tensor) -> Tensor:
        """Weigh values by the softmax of scores; kernels of dot products do not serve."""
        return self.weigh(q, positioned, memory, bias)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """What the networks give for queries [B, H, T, K] and keys [B, H, S, K]: [B, H, T, S]."""
        hidden = (q[..., None, :] + k[..., None, :, :]).tanh()  # [B, H, T, S, K]
        return (hidden @ self.score[..., None])[..., 0]


class MultiplicativeAttention(MultiHeadAttention):
    """Scores by a bilinear form, q . W k, Luong et al.'s "general" (2015, section 3.1).

    The keys are what is attended to as it is; each head has a part of its features. The paper divides by
    nothing, and its states are between -1 and 1; a Transformer's are larger, and without the division its
    softmax begins so sharp that nothing is learnt. W can undo it.

    Args:
        heads: number of bilinear forms, each with its own values; divides d_model
        scaled: whether scores are divided by the square root of the width of a head's keys
        d_v: width of each head's values; d_model / heads when left out
        bias: whether the projections add a bias
        dropout: share of attention weights dropped in training

    Raises:
        ValueError: when heads does not divide d_model
    """

    def __init__(
        self,
        d_model: int,
        *,
        heads: Annotated[int, Gt(0)] = 1,
        scaled: bool = True,
        d_v: Annotated[int, Gt(0)] | None = None,
        bias: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        if d_model % heads:
            raise ValueError(f"heads ({heads}) must divide d_model ({d_model})")
        super().__init__(d_model, heads=heads, d_v=d_v, bias=bias, dropout=dropout, scaled=scaled)
        self.key = nn.Identity()
