"""Attention in linear time.

Letters in shapes: B sentences, T queries, S keys, D = d_model, H heads, K the width of a head's queries and
keys, V that of its values, N chunks of C tokens.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import split

_CHUNK = 64


class LinearAttention(seqx.Attention):
    """Weights are products of features, elu(x) + 1, without a softmax (Katharopoulos et al. 2020, section 3).

    Over a whole sequence it costs O(n): values are summed once for all queries, and chunk by chunk where a
    query may not look ahead. Positions that add to scores cannot be had, as there are none. A search keeps
    the keys and values of all tokens, as with other kinds.

    Args:
        heads: number of subspaces; divides d_model
        bias: whether the projections add a bias

    Raises:
        ValueError: when heads does not divide d_model
    """

    def __init__(self, d_model: int, *, heads: Annotated[int, Gt(0)] = 8, bias: bool = False) -> None:
        super().__init__(d_model)
        if d_model % heads:
            raise ValueError(f"heads ({heads}) must divide d_model ({d_model})")
        self.heads = heads
        self.query = nn.Linear(d_model, d_model, bias)
        self.key = nn.Linear(d_model, d_model, bias)
        self.value = nn.Linear(d_model, d_model, bias)
        self.output = nn.Linear(d_model, d_model, bias)

    def query_key_parameters(self) -> Iterable[nn.Parameter]:
        """Those of the queries' and the keys' maps."""
        return (*self.query.parameters(), *self.key.parameters())

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        """Features of the keys [B, H, S, K], zero on padding, and values [B, H, S, V], from [B, S, D]."""
        k, v = self._split(self.key(keys)), self._split(self.value(values))
        features = (F.elu(positioned.key(k)) + 1) * positioned.layout.keep[:, None, :, None]
        return seqx.KeyValue(features, v, positioned.layout)

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Attend from [B, T, D]; returns [B, T, D]."""
        q = self._features(queries, positioned)
        with torch.autocast(q.device.type, enabled=False):  # sums over a sequence want more than 8 bits
            mixed = self._mixed(q, positioned, memory, mask)
        return self.output(mixed.to(queries.dtype).transpose(1, 2).flatten(2))

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """How much each query [B, T, D] takes of each value: [B, H, T, S]."""
        return _weights(self._features(queries, positioned), positioned, memory, mask)

    def check(self, encoding: seqx.PositionalEncoding | None) -> None:
        """Refuse positions that would be ignored."""
        if encoding is not None and (encoding.has_bias or encoding.has_value_term):
            raise ValueError(
                f"linear attention has no scores for {type(encoding).__name__} positions to add to; "
                "take others, as sinusoidal or rotary"
            )

    def _mixed(
        self, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Means of the values [B, H, T, V] by features of the queries [B, H, T, K]."""
        k, v = memory.keys.float(), memory.values.float()
        plain = mask.window is None and (positioned.layout.segments is None or memory.layout.segments is None)
        if plain and not mask.causal:
            return _over(q @ (k.mT @ v), q @ k.sum(-2)[..., None])
        if plain and positioned.layout is memory.layout:
            return _causal(q, k, v)
        return _weights(q, positioned, memory, mask) @ v

    def _features(self, queries: Tensor, positioned: seqx.Positioned) -> Tensor:
        return (F.elu(positioned.query(self._split(self.query(queries)))) + 1).float()  # [B, H, T, K]

    def _split(self, x: Tensor) -> Tensor:
        return split(x, self.heads)


def _weights(q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask) -> Tensor:
    weights = q @ memory.keys.float().mT
    weights = weights * mask.dense(positioned.layout, memory.layout)
    return _over(weights, weights.sum(-1, keepdim=True))


def _over(sums: Tensor, weights: Tensor) -> Tensor:
    """Means, where anything weighs something; zeros elsewhere."""
    return sums / torch.where(weights > 0, weights, 1.0)


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each query with the keys up to its own: within its chunk one by one, of chunks before by their sums."""
    length = q.size(2)
    short = -length % _CHUNK
    q, k, v = (_chunks(F.pad(x, (0, 0, 0, short))) for x in (q, k, v))  # [B, H, N, C, K]
    within = (q @ k.mT).tril()
    sums, totals = (x.cumsum(2) - x for x in (k.mT @ v, k.sum(-2)))  # [B, H, N, K, V], [B, H, N, K]
    weights = within.sum(-1, keepdim=True) + q @ totals[..., None]
    return _over(within @ v + q @ sums, weights).flatten(2, 3)[:, :, :length]


def _chunks(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:2], -1, _CHUNK, x.size(-1))
