"""Attention whose scores are not scaled dot products of projections: a base class, and two components.

Letters in shapes: B sentences, T queries, S keys, D = d_model, H heads, K the width of a head's queries and
keys.
"""

from abc import abstractmethod
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import MultiHeadAttention
from seqx_transformer.kernels.kernel import HeadInputs


class ScoredAttention(MultiHeadAttention):
    """Multi-head attention with scores of its own: the base class of components that define `scores`.

    Projections, positions, masks, dropout and the sum of values are those of `MultiHeadAttention`.
    """

    @abstractmethod
    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scores [B, H, T, S] of queries [B, H, T, K] and keys [B, H, S, K], before the softmax.

        The queries are divided by sqrt(K), unless the constructor of the base class gets `scaled=False`.
        """

    def head_inputs(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> HeadInputs:
        """Return the inputs of a kernel, with these scores, which no fused kernel computes."""
        return super().head_inputs(queries, positioned, memory, mask)._replace(scores=self.scores)

    def prepare(self, x: Tensor, positioned: seqx.Positioned, keys: seqx.Layout, mask: seqx.Mask) -> None:
        """Compute the mask for the kernel `eager`."""
        mask.additive(positioned.layout, keys, x.dtype)


class AdditiveAttention(ScoredAttention):
    """Additive attention: the scores are v . tanh(W q + U k) (Bahdanau et al. 2015, sections 3.1 and A.1.2).

    The paper has one head, and its values are the states themselves. Here each head has its own v, W and U,
    and its own projection of the values. The hidden units of all scores need memory of size [B, H, T, S, K].

    Args:
        heads: number of heads; must divide d_model unless both d_k and d_v are set
        d_k: width of the hidden layer of each head's score; d_model / heads if left out
        d_v: width of each head's values; d_model / heads if left out
        bias: add a bias in the linear maps
        dropout: dropout probability of the attention weights

    Raises:
        ValueError: heads does not divide d_model, and d_k or d_v is left out
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
        self.score = nn.Parameter(nn.init.normal_(torch.empty(heads, 1, self.d_k), std=self.d_k**-0.5))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scores [B, H, T, S] of queries [B, H, T, K] with keys [B, H, S, K]."""
        hidden = (q[..., None, :] + k[..., None, :, :]).tanh()  # [B, H, T, S, K]
        return (hidden @ self.score[..., None])[..., 0]


class MultiplicativeAttention(MultiHeadAttention):
    """Multiplicative attention: the scores are q W k, called "general" in Luong et al. 2015, section 3.1.

    The keys are the attended states themselves, without a projection; each head takes a slice of their
    features. Unlike in the paper, scores are divided by sqrt(d_model / heads) by default. The states of the
    paper are between -1 and 1. Those of a Transformer are larger: without the division the softmax is
    saturated from the beginning, and the model does not learn.

    Args:
        heads: number of heads; must divide d_model
        scaled: divide the scores by sqrt(d_model / heads), the square root of the width of a head's keys
        d_v: width of each head's values; d_model / heads if left out
        bias: add a bias in the linear maps
        dropout: dropout probability of the attention weights

    Raises:
        ValueError: heads does not divide d_model
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
