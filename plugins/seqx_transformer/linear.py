"""Linear attention.

Letters in shapes: B sentences, T queries, S keys, D = d_model, H heads, K the width of a head's queries and
keys, V that of its values, N chunks of C = CHUNK tokens.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import split_heads

CHUNK = 64
"""The number of tokens of a chunk."""


class LinearAttention(seqx.Attention):
    """Attention with a kernel instead of the softmax (Katharopoulos et al. 2020, section 3).

    output_i = (phi(q_i) sum_j phi(k_j) v_j) / (phi(q_i) sum_j phi(k_j)), with phi(x) = elu(x) + 1
    (equation 7).

    A sequence of n tokens takes O(n) operations: the sums over j are computed once for all queries, or chunk
    by chunk if attention is causal. There are no scores, so positional encodings that add to scores or to
    values are refused. A search caches the keys and values of all tokens; the paper's recurrent form (section
    3.4), which caches only their sums, is not implemented.

    Args:
        heads: number of heads; must divide d_model
        bias: add a bias in the linear maps

    Raises:
        ValueError: heads does not divide d_model
    """

    reads_packed_rows = True

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
        """Return the parameters of the query and key projections."""
        return (*self.query.parameters(), *self.key.parameters())

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        """Return phi(keys) [B, H, S, K], zero on padding, and values [B, H, S, V], from [B, S, D]."""
        k, v = split_heads(self.key(keys), self.heads), split_heads(self.value(values), self.heads)
        features = (F.elu(positioned.key(k)) + 1) * positioned.layout.keep[:, None, :, None]
        return seqx.KeyValue(features, v, positioned.layout)

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Attend from [B, T, D]; return [B, T, D]."""
        q = self._features(queries, positioned)
        with torch.autocast(q.device.type, enabled=False):  # sums over a sequence need float32
            heads = self._attend(q, positioned, memory, mask)
        return self.output(heads.to(queries.dtype).transpose(1, 2).flatten(2))

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Return the attention weights [B, H, T, S] of queries [B, T, D]."""
        return _weights(self._features(queries, positioned), positioned, memory, mask)

    def check(self, encoding: seqx.PositionalEncoding | None) -> None:
        """Check that the encoding adds neither to scores nor to values.

        Raises:
            ValueError: it does
        """
        if encoding is not None and (encoding.has_bias or encoding.has_value_term):
            raise ValueError(
                "positions: this encoding adds to scores or values, which is impossible in linear attention; "
                "set other positions, such as sinusoidal or rotary"
            )

    def _attend(
        self, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        """Return the weighted means of the values [B, H, T, V] for phi(queries) [B, H, T, K]."""
        k, v = memory.keys.float(), memory.values.float()
        segments = positioned.layout.segments is not None and memory.layout.segments is not None
        unrestricted = mask.window is None and mask.allowed is None and not segments
        if unrestricted and not mask.causal:
            return _divide(q @ (k.mT @ v), q @ k.sum(-2)[..., None])
        if unrestricted and positioned.layout is memory.layout:
            return _causal(q, k, v)
        return _weights(q, positioned, memory, mask) @ v

    def _features(self, queries: Tensor, positioned: seqx.Positioned) -> Tensor:
        """Return phi(queries) [B, H, T, K]."""
        q = positioned.query(split_heads(self.query(queries), self.heads))
        return (F.elu(q) + 1).float()


def _weights(q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask) -> Tensor:
    """Return the attention weights [B, H, T, S] of phi(queries) [B, H, T, K]."""
    weights = q @ memory.keys.float().mT
    weights = weights * mask.dense(positioned.layout, memory.layout)
    return _divide(weights, weights.sum(-1, keepdim=True))


def _divide(weighted_sums: Tensor, total_weights: Tensor) -> Tensor:
    """Divide weighted sums by their total weights; the sum is 0 where the total weight is 0."""
    return weighted_sums / torch.where(total_weights > 0, total_weights, 1.0)


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return the outputs [B, H, T, V] of causal attention for phi(q), phi(k) and v.

    Each query is compared with every key of its own chunk. The keys and values of earlier chunks are summed
    first.
    """
    length = q.size(2)
    missing = -length % CHUNK
    q, k, v = (_chunks(F.pad(x, (0, 0, 0, missing))) for x in (q, k, v))  # [B, H, N, C, K]
    weights = (q @ k.mT).tril()  # within each chunk: [B, H, N, C, C]
    # sums over earlier chunks: [B, H, N, K, V] and [B, H, N, K]
    key_values, keys = (x.cumsum(2) - x for x in (k.mT @ v, k.sum(-2)))
    total_weights = weights.sum(-1, keepdim=True) + q @ keys[..., None]
    return _divide(weights @ v + q @ key_values, total_weights).flatten(2, 3)[:, :, :length]


def _chunks(x: Tensor) -> Tensor:
    """Cut [B, H, N C, K] into chunks [B, H, N, C, K]."""
    return x.reshape(*x.shape[:2], -1, CHUNK, x.size(-1))
