"""Multi-head attention.

Letters in shapes: B sentences, T queries, S keys, D = d_model, H heads, K the width of a head's queries and
keys, V that of its values.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.layer_parts import Dropout


class MultiHeadAttention(seqx.Attention):
    """Scaled dot-product attention with several heads (Vaswani et al. 2017, section 3.2).

    Each head computes softmax(Q K^T / sqrt(d_k)) V, where Q, K and V are linear projections of the inputs.
    Another linear map combines the heads.

    Args:
        heads: number of heads; must divide d_model unless both d_k and d_v are set
        d_k: width of each head's queries and keys; d_model / heads if left out
        d_v: width of each head's values; d_model / heads if left out
        bias: add a bias in the linear maps
        dropout: dropout probability of the attention weights
        scaled: divide the scores by sqrt(d_k) (section 3.2.1)

    Raises:
        ValueError: heads does not divide d_model, and d_k or d_v is left out
    """

    def __init__(
        self,
        d_model: int,
        *,
        heads: Annotated[int, Gt(0)] = 8,
        d_k: Annotated[int, Gt(0)] | None = None,
        d_v: Annotated[int, Gt(0)] | None = None,
        bias: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        scaled: bool = True,
    ) -> None:
        super().__init__(d_model)
        if d_model % heads and (d_k is None or d_v is None):
            raise ValueError(f"heads ({heads}) must divide d_model ({d_model}), or set both d_k and d_v")
        self.heads = heads
        self.d_k = d_k or d_model // heads
        self.d_v = d_v or d_model // heads
        self.scale = self.d_k**-0.5 if scaled else 1.0
        self.query = nn.Linear(d_model, heads * self.d_k, bias)
        self.key: nn.Module = nn.Linear(d_model, heads * self.d_k, bias)
        self.value = nn.Linear(d_model, heads * self.d_v, bias)
        self.output = nn.Linear(heads * self.d_v, d_model, bias)
        self.dropout = Dropout(dropout)

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        """Return keys [B, H, S, K] and values [B, H, S, V], both projected from [B, S, D]."""
        k, v = split_heads(self.key(keys), self.heads), split_heads(self.value(values), self.heads)
        return seqx.KeyValue(positioned.key(k), v, positioned.layout)

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Attend from [B, T, D]; return [B, T, D]."""
        q, bias = self._queries_and_bias(queries, positioned, memory, mask)
        heads = self.attend(q, positioned, memory, bias)  # [B, H, T, V]
        return self.output(heads.transpose(1, 2).flatten(2))  # [B, T, D]

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Return the attention weights [B, H, T, S] of queries [B, T, D], without dropout."""
        q, bias = self._queries_and_bias(queries, positioned, memory, mask)
        return (self.scores(q, memory.keys) + bias).softmax(-1, torch.float32)

    def check(self, encoding: seqx.PositionalEncoding | None) -> None:
        """Check that the vectors which the encoding adds to the values have the width d_v.

        Raises:
            ValueError: they have another width
        """
        if encoding is None:
            return
        x = torch.zeros(1, 1, self.d_model)
        positioned = seqx.Positioned(encoding, seqx.Layout.of(torch.ones(1, 1, dtype=torch.bool)))
        with torch.no_grad():
            memory = self.project(x, x, positioned)
            added = positioned.values(self.weights(x, positioned, memory, seqx.Mask()), memory)
        d_v = memory.values.size(-1)
        if added is not None and added.size(-1) != d_v:
            raise ValueError(
                f"positions: vectors of width {added.size(-1)} cannot be added to values of width {d_v}; "
                f"set d_v of the positional encoding to {d_v}"
            )

    def query_key_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the query and key projections."""
        return (*self.query.parameters(), *self.key.parameters())

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scores [B, H, T, S] of scaled queries [B, H, T, K] with keys [B, H, S, K]."""
        return q @ k.mT

    def attend(self, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, bias: Tensor) -> Tensor:
        """Return softmax(scores + bias) V in each head: [B, H, T, V].

        Args:
            q: scaled queries [B, H, T, K]
            positioned: layout and positional encoding of the queries; the encoding may add to the values
            memory: keys and values
            bias: sum of mask and positional bias [B or 1, H or 1, T, S]
        """
        # The fused kernel of torch does not return its weights, which value terms need. Its backward pass is
        # slow in bfloat16 on CPUs. With a bias it sums gradients in an order that varies between runs.
        deterministic = torch.are_deterministic_algorithms_enabled()
        if q.device.type != "cpu" and not positioned.encoding.has_value_term and not deterministic:
            dropout = self.dropout.p if self.training else 0.0
            return F.scaled_dot_product_attention(q, memory.keys, memory.values, bias, dropout, scale=1.0)
        return self.attend_eager(q, positioned, memory, bias)

    def attend_eager(
        self, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, bias: Tensor
    ) -> Tensor:
        """Compute the result of `attend` without a fused kernel, for any `scores` and any encoding."""
        weights = self.dropout(self.scores(q, memory.keys).add_(bias).softmax(-1))  # [B, H, T, S]
        heads = weights @ memory.values
        added = positioned.values(weights, memory)
        return heads if added is None else heads + added

    def _queries_and_bias(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> tuple[Tensor, Tensor]:
        """Return scaled queries [B, H, T, K], and mask plus positional bias [B or 1, H or 1, T, S]."""
        q = positioned.query(split_heads(self.query(queries), self.heads)) * self.scale
        visible = mask.dense(positioned.layout, memory.layout)  # [B, 1, T, S]
        # Minus infinity would make the softmax of a completely masked row NaN, so masked keys get a large
        # negative number: half of the smallest number, so that adding scores does not overflow.
        bias = torch.where(visible, 0.0, torch.finfo(q.dtype).min / 2).to(q.dtype)
        positional = positioned.bias(q, memory)
        return q, bias if positional is None else bias + positional.to(q.dtype)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split features [B, T, H K] into heads: [B, H, T, K]."""
    return x.view(*x.shape[:2], heads, x.size(2) // heads).transpose(1, 2)
