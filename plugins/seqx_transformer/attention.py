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
from seqx_transformer.dropout import Dropout


class MultiHeadAttention(seqx.Attention):
    """Scaled dot-product attention in several subspaces at once (Vaswani et al. 2017, section 3.2).

    Args:
        heads: number of subspaces; divides d_model where d_k or d_v is left out
        d_k: width of each head's queries and keys; d_model / heads when left out
        d_v: width of each head's values; d_model / heads when left out
        bias: whether the projections add a bias
        dropout: share of attention weights dropped in training
        scaled: whether scores are divided by the square root of d_k; dot-product attention without
            that scale does worse for large d_k (section 3.2.1)

    Raises:
        ValueError: when heads does not divide d_model and d_k or d_v is left out
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
        """Keys [B, H, S, K] and values [B, H, S, V], both from [B, S, D]."""
        k, v = self._split(self.key(keys)), self._split(self.value(values))
        return seqx.KeyValue(positioned.key(k), v, positioned.layout)

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Attend from [B, T, D]; returns [B, T, D]."""
        q, bias = self._compared(queries, positioned, memory, mask)
        mixed = self.mix(q, positioned, memory, bias)  # [B, H, T, V]
        return self.output(mixed.transpose(1, 2).flatten(2))  # [B, T, D]

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """How much each query [B, T, D] takes of each value: [B, H, T, S]."""
        q, bias = self._compared(queries, positioned, memory, mask)
        return (self.scores(q, memory.keys) + bias).softmax(-1, torch.float32)

    def check(self, encoding: seqx.PositionalEncoding | None) -> None:
        """Refuse positions that were made for heads of another width."""
        if encoding is None:
            return
        x = torch.zeros(1, 1, self.d_model)
        positioned = seqx.Positioned(encoding, seqx.Layout.of(torch.ones(1, 1, dtype=torch.bool)))
        with torch.no_grad():
            memory = self.project(x, x, positioned)
            relative = positioned.values(self.weights(x, positioned, memory, seqx.Mask()), memory)
        wide = memory.values.size(-1)
        if relative is not None and relative.size(-1) != wide:
            raise ValueError(
                f"positions: set d_v of {type(encoding).__name__.lower()} to the attention's, {wide}"
            )

    def query_key_parameters(self) -> Iterable[nn.Parameter]:
        """Those of the queries' and the keys' maps."""
        return (*self.query.parameters(), *self.key.parameters())

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """How well keys [B, H, S, K] match queries [B, H, T, K], which are scaled: [B, H, T, S]."""
        return q @ k.mT

    def _compared(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> tuple[Tensor, Tensor]:
        """Scaled queries [B, H, T, K], and what is added to their scores [B or 1, H or 1, T, S]."""
        q = positioned.query(self._split(self.query(queries))) * self.scale
        visible = mask.dense(positioned.layout, memory.layout)  # [B, 1, T, S]
        # A large number instead of infinity keeps the softmax finite where nothing is visible; half of the
        # largest leaves room for the scores that are added to it.
        bias = torch.where(visible, 0.0, torch.finfo(q.dtype).min / 2).to(q.dtype)
        relative = positioned.bias(q, memory)
        if relative is not None:
            bias = bias + relative.to(q.dtype)
        return q, bias

    def mix(self, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, bias: Tensor) -> Tensor:
        """Weigh values by the softmax of scores, the step that has rival kernels.

        From scaled queries [B, H, T, K] and what is added to their scores, [B or 1, H or 1, T, S], to
        [B, H, T, V].
        """
        # SDPA keeps its weights to itself, its backward pass in bfloat16 is slow on CPUs, and with a bias it
        # adds up gradients in another order each time.
        repeats = torch.are_deterministic_algorithms_enabled()
        if q.device.type != "cpu" and not positioned.encoding.has_value_term and not repeats:
            dropout = self.dropout.p if self.training else 0.0
            return F.scaled_dot_product_attention(q, memory.keys, memory.values, bias, dropout, scale=1.0)
        return self.weigh(q, positioned, memory, bias)

    def weigh(self, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, bias: Tensor) -> Tensor:
        """The same for any scores, with their weights at hand."""
        weights = self.dropout(self.scores(q, memory.keys).add_(bias).softmax(-1))  # [B, H, T, S]
        mixed = weights @ memory.values
        relative = positioned.values(weights, memory)
        return mixed if relative is None else mixed + relative

    def _split(self, x: Tensor) -> Tensor:
        return split(x, self.heads)


def split(x: Tensor, heads: int) -> Tensor:
    """Features [B, T, H K] by head: [B, H, T, K]."""
    return x.view(*x.shape[:2], heads, x.size(2) // heads).transpose(1, 2)
