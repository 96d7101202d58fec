"""Relative positional encodings, which act in attention.

Letters in shapes: B sentences, H heads, T queries, S keys, K the width of a head, R = 2 farthest + 1 clipped
distances.
"""

import math
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

import seqx


class Rotary(seqx.PositionalEncoding):
    """Rotary position embedding, RoPE (Su et al. 2021, section 3.2.2).

    Each pair of neighbouring features of a query or key is rotated by the angle position / base^(2i / K), so
    that scores depend on distances only. If a head has an odd width, its last feature is not rotated.

    Args:
        base: base of the wavelengths, which reach 2 pi base
    """

    def __init__(self, d_model: int, heads: int, *, base: Annotated[float, Gt(1)] = 10000.0) -> None:
        super().__init__(d_model, heads)
        self.base = base

    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        """Rotate queries [B, H, T, K]."""
        return self._rotate(q, positions)

    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        """Rotate keys [B, H, S, K]."""
        return self._rotate(k, positions)

    def _rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        pairs = x.size(-1) // 2
        exponents = torch.arange(pairs, device=x.device) / pairs
        angles = positions[:, None, :, None] * torch.exp(exponents * -math.log(self.base))
        cos, sin = angles.cos(), angles.sin()  # [B, 1, T, K / 2]
        even, odd = x[..., 0 : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2]
        rotated = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
        return torch.cat([rotated.to(x.dtype), x[..., 2 * pairs :]], -1)


class Alibi(seqx.PositionalEncoding):
    """ALiBi: attention with linear biases (Press et al. 2022, section 3).

    Each score is reduced by slope x |distance|. The slopes are fixed: a geometric sequence over the heads.
    The paper treats causal attention only; here a key after the query counts like one at the same distance
    before.
    """

    slopes: Tensor

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        self.register_buffer("slopes", torch.tensor(_slopes(heads)), persistent=False)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return -slope x |distance|: [B, H, T, S]."""
        distances = (k_positions[:, None, :] - q_positions[:, :, None]).abs()
        return -self.slopes[:, None, None] * distances[:, None]


class T5(seqx.PositionalEncoding):
    """The relative position bias of T5 (Raffel et al. 2020, section 2.1).

    Each head learns a scalar for each bucket of distances, which is added to the scores. Half of the buckets
    hold a single distance; the others grow logarithmically. All layers of a stack share the scalars.

    Args:
        buckets: number of buckets
        farthest: distance from which on all distances share the last bucket
        ahead: reserve half of the buckets for keys after the query; not useful in a causal decoder

    Raises:
        ValueError: fewer than 2 buckets for a direction (4 with ahead), or farthest is too small for them
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        *,
        buckets: Annotated[int, Gt(1)] = 32,
        farthest: Annotated[int, Gt(1)] = 128,
        ahead: bool = True,
    ) -> None:
        super().__init__(d_model, heads)
        self.ahead = ahead
        self.farthest = farthest
        self.each = buckets // 2 if ahead else buckets
        self.exact = self.each // 2
        if self.exact < 1 or farthest <= self.exact:
            raise ValueError(
                f"{buckets} buckets do not fit distances up to {farthest}; use at least {4 if ahead else 2} "
                f"buckets, and a farthest above {self.exact}"
            )
        self.table = nn.Parameter(torch.randn(buckets, heads) * d_model**-0.5)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return the learned scalars [B, H, T, S]."""
        offset = k_positions[:, None, :] - q_positions[:, :, None]  # [B, T, S]
        distance = offset.abs() if self.ahead else (-offset).clamp_min(0)
        growth = (self.each - self.exact) / math.log(self.farthest / self.exact)
        far = self.exact + (distance.clamp_min(1) / self.exact).log().mul(growth).long()
        bucket = torch.where(distance < self.exact, distance, far.clamp_max(self.each - 1))
        if self.ahead:
            bucket = bucket + self.each * (offset > 0)
        return self.table[bucket].permute(0, 3, 1, 2)


class Shaw(seqx.PositionalEncoding):
    """Relative position representations (Shaw et al. 2018, section 3).

    A vector is learned for each clipped distance and added to the keys (equation 4), another one to the
    values (equation 3). All heads and all layers of a stack share the vectors; the paper shares them among
    heads only.

    Args:
        farthest: distances are clipped to this one: k in the paper
        d_k: width of each head's queries and keys, if the attention sets it; d_model / heads if left out
        d_v: width of each head's values, if the attention sets it; d_model / heads if left out

    Raises:
        ValueError: heads does not divide d_model, and d_k or d_v is left out
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        *,
        farthest: Annotated[int, Gt(0)] = 16,
        d_k: Annotated[int, Gt(0)] | None = None,
        d_v: Annotated[int, Gt(0)] | None = None,
    ) -> None:
        super().__init__(d_model, heads)
        if d_model % heads and (d_k is None or d_v is None):
            raise ValueError(f"heads ({heads}) must divide d_model ({d_model}), or set both d_k and d_v")
        self.farthest = farthest
        widths = d_k or d_model // heads, d_v or d_model // heads
        self.keys, self.weighed = (
            nn.Parameter(torch.randn(2 * farthest + 1, width) * width**-0.5) for width in widths
        )

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return the products [B, H, T, S] of queries with the vectors for keys."""
        if q.size(-1) != self.keys.size(1):
            raise ValueError(f"positions: set d_k of shaw to the attention's, {q.size(-1)}")
        products = q @ self.keys.T.to(q.dtype)  # [B, H, T, R]
        return products.gather(-1, self._indices(q_positions, k_positions, q.size(1)))

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return the weighted sums of the vectors for values: [B, H, T, K]."""
        indices = self._indices(q_positions, k_positions, weights.size(1))
        summed = weights.new_zeros(*weights.shape[:3], len(self.weighed)).scatter_add(-1, indices, weights)
        return summed @ self.weighed.to(weights.dtype)

    def _indices(self, q_positions: Tensor, k_positions: Tensor, heads: int) -> Tensor:
        """Return the index in 0 ... R - 1 of the clipped distance of each query and key: [B, H, T, S]."""
        offset = k_positions[:, None, :] - q_positions[:, :, None]
        indices = offset.clamp(-self.farthest, self.farthest) + self.farthest  # [B, T, S]
        return indices[:, None].expand(-1, heads, -1, -1)


def _slopes(heads: int) -> list[float]:
    """Return ALiBi's slopes: 2^(-8 h / H) for h = 1 ... H if H is a power of two.

    Otherwise they are the slopes of the next lower power of two, followed by every second slope of the next
    higher one, as in the authors' code.
    """
    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    return slopes + [2 ** (-8 * (h + 1) / (2 * power)) for h in range(0, 2 * power, 2)][: heads - power]
