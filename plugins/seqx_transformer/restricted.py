"""Attention to a neighbourhood.

Letters in shapes: B sentences, T queries and keys, N blocks of W of them, D = d_model, H heads, K the width
of a head's keys or values.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx
from seqx_transformer.attention import MultiHeadAttention


class RestrictedAttention(MultiHeadAttention):
    """Multi-head attention to the keys that are at most so far away (Vaswani et al. 2017, section 4).

    Over a whole sequence it costs O(n r), as the paper's table 1 says: each block of `window` queries meets
    its own keys and its neighbours', not all. For attention of a sequence to itself: between two, a window of
    positions says nothing.

    Args:
        window: the largest distance between positions, r in table 1
        heads: number of subspaces; divides d_model where d_k or d_v is left out
        d_k: width of each head's queries and keys; d_model / heads when left out
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
        window: Annotated[int, Gt(0)] = 32,
        heads: Annotated[int, Gt(0)] = 8,
        d_k: Annotated[int, Gt(0)] | None = None,
        d_v: Annotated[int, Gt(0)] | None = None,
        bias: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__(d_model, heads=heads, d_k=d_k, d_v=d_v, bias=bias, dropout=dropout)
        self.window = window

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Attend from [B, T, D]; returns [B, T, D]."""
        mask, window = self._narrowed(mask)
        batch, length = queries.shape[:2]
        # Only a stretch that meets itself has its neighbours in position beside it.
        if positioned.layout is not memory.layout or length <= 2 * window:
            return super().forward(queries, positioned, memory, mask)
        sides = (window, 0 if mask.causal else window)

        def keys(x: Tensor, dim: int) -> Tensor:
            return _blocks(x, dim, window, sides)

        def layout(sides: tuple[int, int]) -> seqx.Layout:
            return seqx.Layout._make(
                x if x is None else _blocks(x, 1, window, sides) for x in positioned.layout
            )

        blocks = seqx.KeyValue(keys(memory.keys, 2), keys(memory.values, 2), layout(sides))
        here = positioned._replace(layout=layout((0, 0)))
        mixed = super().forward(_blocks(queries, 1, window, (0, 0)), here, blocks, mask)  # [B N, W, D]
        return mixed.reshape(batch, -1, self.d_model)[:, :length]

    def check(self, encoding: seqx.PositionalEncoding | None) -> None:
        """Refuse another sequence."""
        if encoding is None:
            raise ValueError("restricted attention is for one sequence; name another to look at the source")
        super().check(encoding)

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """How much each query [B, T, D] takes of each value, those too far away included: [B, H, T, S]."""
        mask, _ = self._narrowed(mask)
        weights = super().weights(queries, positioned, memory, mask)
        return weights * mask.dense(positioned.layout, memory.layout)

    def mix(self, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, bias: Tensor) -> Tensor:
        """Weigh values by the softmax of scores; nothing where there is no key so near."""
        near = (bias > torch.finfo(bias.dtype).min / 4).any(-1, keepdim=True)
        return super().mix(q, positioned, memory, bias) * near

    def _narrowed(self, mask: seqx.Mask) -> tuple[seqx.Mask, int]:
        window = self.window if mask.window is None else min(self.window, mask.window)
        return mask._replace(window=window), window


def _blocks(x: Tensor, dim: int, size: int, sides: tuple[int, int]) -> Tensor:
    """Every `size` places of a dimension, with so many more on both sides of them, as rows: [B N, ...].

    Beyond the ends stand zeros; a mask of places that is False there hides them.
    """
    short = -x.size(dim) % size
    padding = [0, 0] * (x.dim() - dim - 1) + [sides[0], short + sides[1]]
    blocks = F.pad(x, padding).unfold(dim, size + sum(sides), size)  # [B, ..., N, ..., places]
    return blocks.movedim(dim, 1).movedim(-1, dim + 1).flatten(0, 1)
