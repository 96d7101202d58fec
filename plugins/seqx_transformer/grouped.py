"""Multi-head attention that keeps fewer keys and values.

Letters in shapes: B sentences, S keys, D = d_model, H heads, G groups, K the width of a head's queries and
keys, V that of its values.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import MultiHeadAttention, split


class GroupedQueryAttention(MultiHeadAttention):
    """Heads that share keys and values in groups (Ainslie et al. 2023, section 2.2).

    With one group it is multi-query attention (Shazeer 2019, section 3). What a search has to keep of the
    past shrinks by heads / groups.

    Args:
        heads: number of subspaces of the queries
        groups: number of subspaces of the keys and values; divides heads
        d_k: width of each head's queries and keys; d_model / heads when left out
        d_v: width of each head's values; d_model / heads when left out
        bias: whether the projections add a bias
        dropout: share of attention weights dropped in training

    Raises:
        ValueError: when groups does not divide heads, or heads not d_model and d_k or d_v is left out
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
    ) -> None:
        super().__init__(d_model, heads=heads, d_k=d_k, d_v=d_v, bias=bias, dropout=dropout)
        if heads % groups:
            raise ValueError(f"groups ({groups}) must divide heads ({heads})")
        self.groups = groups
        self.key = nn.Linear(d_model, groups * self.d_k, bias)
        self.value = nn.Linear(d_model, groups * self.d_v, bias)

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        """Keys [B, G, S, K] and values [B, G, S, V], both from [B, S, D]."""
        k, v = (split(layer(x), self.groups) for layer, x in ((self.key, keys), (self.value, values)))
        return seqx.KeyValue(positioned.key(k), v, positioned.layout)

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Attend from [B, T, D]; returns [B, T, D]."""
        return super().forward(queries, positioned, self._by_head(memory), mask)

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """How much each query [B, T, D] takes of each value: [B, H, T, S]."""
        return super().weights(queries, positioned, self._by_head(memory), mask)

    def _by_head(self, memory: seqx.KeyValue) -> seqx.KeyValue:
        each = self.heads // self.groups
        k, v = (x.repeat_interleave(each, 1) for x in (memory.keys, memory.values))
        return memory._replace(keys=k, values=v)
