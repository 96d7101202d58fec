"""Grouped-query and multi-query attention.

Letters in shapes: B sentences, S keys, T queries, D = d_model, H heads, G groups, K the width of a head's
queries and keys, V that of its values.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import MultiHeadAttention, split_heads
from seqx_transformer.kernels.kernel import Kernel


class GroupedQueryAttention(MultiHeadAttention):
    """Multi-head attention in which groups of heads share keys and values (Ainslie et al. 2023, section 2.2).

    With one group it is multi-query attention (Shazeer 2019, section 3). Compared with `multihead`, a search
    caches heads / groups times fewer keys and values.

    Args:
        heads: number of heads of the queries; must divide d_model unless both d_k and d_v are set
        groups: number of heads of the keys and values; must divide heads
        d_k: width of each head's queries and keys; d_model / heads if left out
        d_v: width of each head's values; d_model / heads if left out
        bias: add a bias in the linear maps
        dropout: dropout probability of the attention weights
        kernel: kernel that computes the heads; left out: the fastest for the device and the inputs

    Raises:
        ValueError: groups does not divide heads; or heads does not divide d_model, and d_k or d_v is left out
    """

    def __init__(
        self,
        d_model: int,
        *,
        heads: Annotated[int, Gt(0)] = 8,
        groups: Annotated[int, Gt(0)] = 1,
        d_k: Annotated[int, Gt(0)] | None = None,
        d_v: Annotated[int, Gt(0)] | None = None,
        bias: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        kernel: seqx.Make[Kernel] | None = None,
    ) -> None:
        super().__init__(d_model, heads=heads, d_k=d_k, d_v=d_v, bias=bias, dropout=dropout, kernel=kernel)
        if heads % groups:
            raise ValueError(f"groups ({groups}) must divide heads ({heads})")
        self.groups = groups
        self.key = nn.Linear(d_model, groups * self.d_k, bias)
        self.value = nn.Linear(d_model, groups * self.d_v, bias)

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        """Return keys [B, G, S, K] and values [B, G, S, V], both projected from [B, S, D]."""
        k, v = split_heads(self.key(keys), self.groups), split_heads(self.value(values), self.groups)
        return seqx.KeyValue(positioned.key(k), v, positioned.layout)

    def specification(self) -> seqx.AttentionSpec:
        """Return a description of the attention for exporters."""
        return self.dot_product(self.groups)
