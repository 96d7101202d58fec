"""Attention within a window (local attention).

Letters in shapes: B sentences, T queries and keys, N blocks of W = window queries, D = d_model, H heads, K
the width of a head's keys or values.
"""

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx
from seqx_transformer.attention import MultiHeadAttention
from seqx_transformer.kernels.kernel import HeadInputs


class RestrictedAttention(MultiHeadAttention):
    """Multi-head self-attention to keys at most `window` positions away (Vaswani et al. 2017, section 4).

    A sequence of n tokens takes O(n window) operations instead of O(n^2) (table 1: restricted
    self-attention). For this, the queries are cut into blocks, and each block is compared only with the keys
    of the same block and of its neighbours. Cross-attention is refused, because the positions of two
    sequences are not comparable.

    Args:
        window: largest distance between a query and a key that it attends to: r in table 1
        heads: number of heads; must divide d_model unless both d_k and d_v are set
        d_k: width of each head's queries and keys; d_model / heads if left out
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
        """Attend from [B, T, D]; return [B, T, D]."""
        mask, window = self._narrow(mask)
        batch, length = queries.shape[:2]
        if not self._uses_blocks(positioned.layout, memory.layout, mask, window):
            return super().forward(queries, positioned, memory, mask)
        no_margins, margins = (0, 0), (window, 0 if mask.causal else window)

        def layout_of_blocks(margins: tuple[int, int]) -> seqx.Layout:
            return seqx.Layout._make(
                x if x is None else _blocks(x, 1, window, margins) for x in positioned.layout
            )

        k, v = _blocks(memory.keys, 2, window, margins), _blocks(memory.values, 2, window, margins)
        outputs = super().forward(  # [B N, W, D]
            _blocks(queries, 1, window, no_margins),
            positioned._replace(layout=layout_of_blocks(no_margins)),
            seqx.KeyValue(k, v, layout_of_blocks(margins)),
            mask,
        )
        return outputs.reshape(batch, -1, self.d_model)[:, :length]

    def check(self, encoding: seqx.PositionalEncoding | None) -> None:
        """Refuse cross-attention, which has no positional encoding, and encodings of another width.

        Raises:
            ValueError: the encoding is None, or does not support the width of the heads
        """
        if encoding is None:
            raise ValueError("restricted attention works within one sequence; set another cross_attention")
        super().check(encoding)

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Return the attention weights [B, H, T, S] of queries [B, T, D]; 0 outside the window."""
        mask, _ = self._narrow(mask)
        weights = super().weights(queries, positioned, memory, mask)
        return weights * mask.dense(positioned.layout, memory.layout)

    def attend(self, inputs: HeadInputs) -> Tensor:
        """Return softmax(scores + bias) V [B, H, T, V]; zeros for a query without a key in its window."""
        visible = inputs.mask.dense(inputs.positioned.layout, inputs.memory.layout)
        return super().attend(inputs) * visible.any(-1, keepdim=True)

    def prepare(self, x: Tensor, positioned: seqx.Positioned, keys: seqx.Layout, mask: seqx.Mask) -> None:
        """Compute the mask of the window, unless the sequence is cut into blocks."""
        mask, window = self._narrow(mask)
        if not self._uses_blocks(positioned.layout, keys, mask, window):
            mask.dense(positioned.layout, keys)
            super().prepare(x, positioned, keys, mask)

    @staticmethod
    def _uses_blocks(queries: seqx.Layout, keys: seqx.Layout, mask: seqx.Mask, window: int) -> bool:
        """Return true if the sequence is cut into blocks.

        Blocks need queries and keys at the same positions. During a search, however, a new token attends to
        the keys and values of earlier tokens. A matrix of allowed pairs cannot be cut.
        """
        return queries is keys and mask.allowed is None and keys.keep.size(1) > 2 * window

    def _narrow(self, mask: seqx.Mask) -> tuple[seqx.Mask, int]:
        """Return the mask with its window limited to that of this attention, and the resulting window."""
        window = self.window if mask.window is None else min(self.window, mask.window)
        return mask._replace(window=window), window


def _blocks(x: Tensor, dim: int, size: int, margins: tuple[int, int]) -> Tensor:
    """Cut a dimension into N blocks of `size`, and merge N with the batch dimension: [B N, ...].

    Each block also contains the `margins[0]` elements before it and the `margins[1]` elements after it. Zeros
    replace elements beyond the ends of the dimension. The mask hides them, because `keep` is zero (false)
    there as well.
    """
    missing = -x.size(dim) % size
    padding = [0, 0] * (x.dim() - dim - 1) + [margins[0], missing + margins[1]]
    blocks = F.pad(x, padding).unfold(dim, size + sum(margins), size)  # [B, ..., N, ..., size + margins]
    return blocks.movedim(dim, 1).movedim(-1, dim + 1).flatten(0, 1)
