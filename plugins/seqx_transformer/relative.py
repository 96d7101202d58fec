"""Positional encodings that act inside attention, where queries meet keys.

Letters in shapes: B sentences, H heads, T queries, S keys, K the width of a head, R distances that are told
apart.
"""

import math
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

import seqx


class Rotary(seqx.PositionalEncoding):
    """Turns queries and keys by angles that grow with their positions (Su et al. 2021, section 3.2.2).

    Scores then depend on distances alone. Neighbouring features are a plane; of a head of odd width the last
    feature stays as it is.

    Args:
        base: the longest wavelength is 2 pi times this
    """

    def __init__(self, d_model: int, heads: int, *, base: Annotated[float, Gt(1)] = 10000.0) -> None:
        super().__init__(d_model, heads)
        self.base = base

    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        """Queries [B, H, T, K], turned."""
        return self._turned(q, positions)

    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        """Keys [B, H, S, K], turned."""
        return self._turned(k, positions)

    def _turned(self, x: Tensor, positions: Tensor) -> Tensor:
        planes = x.size(-1) // 2
        exponents = torch.arange(planes, device=x.device) / planes
        angles = positions[:, None, :, None] * torch.exp(exponents * -math.log(self.base))
        cos, sin = angles.cos(), angles.sin()  # [B, 1, T, K / 2]
        even, odd = x[..., 0 : 2 * planes : 2], x[..., 1 : 2 * planes : 2]
        turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
        return torch.cat([turned.to(x.dtype), x[..., 2 * planes :]], -1)


class Alibi(seqx.PositionalEncoding):
    """Subtracts from each score a multiple of the distance (Press et al. 2022, section 3).

    The multiples are fixed and fall geometrically over the heads. Keys ahead, which only an encoder sees, are
    as far away as those behind.
    """

    slopes: Tensor

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        self.register_buffer("slopes", torch.tensor(_slopes(heads)), persistent=False)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Penalties [B, H, T, S]."""
        distances = (k_positions[:, None, :] - q_positions[:, :, None]).abs()
        return -self.slopes[:, None, None] * distances[:, None]


class T5(seqx.PositionalEncoding):
    """Adds to each score a number learned for its distance's bucket (Raffel et al. 2020, section 2.1).

    Half of the buckets are for one distance each, the others grow logarithmically. The numbers are shared by
    the layers of a stack, not by heads.

    Args:
        buckets: number of buckets
        farthest: from this distance on all share the last bucket
        ahead: whether keys ahead have buckets of their own, half of them; a decoder needs none

    Raises:
        ValueError: when there are too few buckets, or too many for so small a distance
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
            raise ValueError(f"{buckets} buckets are not right for distances up to {farthest}")
        self.table = nn.Parameter(torch.randn(buckets, heads) * d_model**-0.5)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Learned numbers [B, H, T, S]."""
        offset = k_positions[:, None, :] - q_positions[:, :, None]  # [B, T, S]
        distance = offset.abs() if self.ahead else (-offset).clamp_min(0)
        growth = (self.each - self.exact) / math.log(self.farthest / self.exact)
        far = self.exact + (distance.clamp_min(1) / self.exact).log().mul(growth).long()
        bucket = torch.where(distance < self.exact, distance, far.clamp_max(self.each - 1))
        if self.ahead:
            bucket = bucket + self.each * (offset > 0)
        return self.table[bucket].permute(0, 3, 1, 2)


class Shaw(seqx.PositionalEncoding):
    """Adds vectors learned for the distance to keys and values (Shaw et al. 2018, section 3).

    The vectors are shared by heads and by the layers of a stack.

    Args:
        farthest: longer distances are taken for this one
        d_k: width of each head's queries and keys, where the attention sets it; d_model / heads when left out
        d_v: width of each head's values, likewise

    Raises:
        ValueError: when heads does not divide d_model and d_k or d_v is left out
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
        """Products [B, H, T, S] of queries and the keys' vectors."""
        if q.size(-1) != self.keys.size(1):
            raise ValueError(f"positions: set d_k of shaw to the attention's, {q.size(-1)}")
        products = q @ self.keys.T.to(q.dtype)  # [B, H, T, R]
        return products.gather(-1, self._told(q_positions, k_positions, q.size(1)))

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """The values' vectors [B, H, T, K], weighed."""
        told = self._told(q_positions, k_positions, weights.size(1))
        summed = weights.new_zeros(*weights.shape[:3], len(self.weighed)).scatter_add(-1, told, weights)
        return summed @ self.weighed.to(weights.dtype)

    def _told(self, q_positions: Tensor, k_positions: Tensor, heads: int) -> Tensor:
        offset = k_positions[:, None, :] - q_positions[:, :, None]
        told = offset.clamp(-self.farthest, self.farthest) + self.farthest  # [B, T, S]
        return told[:, None].expand(-1, heads, -1, -1)


def _slopes(heads: int) -> list[float]:
    """2^(-8 h / H); those of the power of two below H, and of the one above every other, up to H of them."""
    whole = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (h + 1) / whole) for h in range(whole)]
    return slopes + [2 ** (-8 * (h + 1) / (2 * whole)) for h in range(0, 2 * whole, 2)][: heads - whole]
