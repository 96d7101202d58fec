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
        base: base of the wavelengths; the longest one is about 2 pi base
    """

    def __init__(self, d_model: int, heads: int, *, base: Annotated[float, Gt(1)] = 10000.0) -> None:
        super().__init__(d_model, heads)
        self.base = base

    def prepare(self, positions: Tensor) -> seqx.PositionalEncoding:
        """Return a rotary embedding that has computed the angles of `positions`."""
        return _PreparedRotary(self, positions)

    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        """Rotate queries [B, H, T, K]."""
        return self._rotate(q, positions)

    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        """Rotate keys [B, H, S, K]."""
        return self._rotate(k, positions)

    def specification(self) -> seqx.PositionsSpec:
        """Return a description of the encoding for exporters."""
        return seqx.PositionsSpec(kind="rotary", base=self.base)

    def _rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate each pair of features of x [B, H, T, K] by an angle that grows with the position."""
        pairs = x.size(-1) // 2
        cos, sin = self._rotations(positions, pairs)
        even, odd = x[..., 0 : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2]
        rotated = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
        return torch.cat([rotated.to(x.dtype), x[..., 2 * pairs :]], -1)

    def _rotations(self, positions: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
        """Return cosines and sines [B, 1, T, pairs] of the angles at `positions` [B, T]."""
        exponents = torch.arange(pairs, device=positions.device) / pairs
        angles = positions[:, None, :, None] * torch.exp(exponents * -math.log(self.base))
        return angles.cos(), angles.sin()


class _PreparedRotary(Rotary):
    """A rotary embedding with the angles of the tokens of a batch, for heads of the width d_model / heads."""

    def __init__(self, rotary: Rotary, positions: Tensor) -> None:
        super().__init__(rotary.d_model, rotary.heads, base=rotary.base)
        self.positions = positions
        self.cos, self.sin = super()._rotations(positions, rotary.d_model // rotary.heads // 2)

    def _rotations(self, positions: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
        """Return cosines and sines; compute them again for other positions or another width."""
        if positions is self.positions and pairs == self.cos.size(-1):
            return self.cos, self.sin
        return super()._rotations(positions, pairs)


class Alibi(seqx.PositionalEncoding):
    """ALiBi: attention with linear biases (Press et al. 2022, section 3).

    Each score is reduced by slope x |distance|. The slopes are fixed: a geometric sequence over the heads.
    The paper treats causal attention only. Here a key after the query has the same bias as a key at the same
    distance before the query.
    """

    slopes: Tensor

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        self.register_buffer("slopes", torch.tensor(_slopes(heads)), persistent=False)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return the biases -slope x |distance|: [B, H, T, S]."""
        distances = (k_positions[:, None, :] - q_positions[:, :, None]).abs()
        return -self.slopes[:, None, None] * distances[:, None]


class T5(seqx.PositionalEncoding):
    """The relative position bias of T5 (Raffel et al. 2020, section 2.1).

    Distances are grouped into buckets. Each head has a learned scalar for each bucket, which is added to the
    scores. Half of the buckets contain a single distance; the other buckets grow with the distance, on a
    logarithmic scale. All layers of a stack share the scalars.

    Args:
        buckets: number of buckets
        farthest: this distance and all larger ones are in the last bucket
        ahead: reserve half of the buckets for keys after the query; not useful in a causal decoder

    Raises:
        ValueError: `buckets` is below 2, or below 4 with `ahead`; or `farthest` is too small for the buckets
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
        self.buckets_per_direction = buckets // 2 if ahead else buckets
        self.exact_buckets = self.buckets_per_direction // 2  # buckets of a single distance, per direction
        if self.exact_buckets < 1 or farthest <= self.exact_buckets:
            raise ValueError(
                f"{buckets} buckets do not fit distances up to {farthest}; set buckets to "
                f"{4 if ahead else 2} or more, and farthest to more than {self.exact_buckets}"
            )
        self.table = nn.Parameter(nn.init.normal_(torch.empty(buckets, heads), std=d_model**-0.5))

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return the learned scalars [B, H, T, S]."""
        offset = k_positions[:, None, :] - q_positions[:, :, None]  # [B, T, S]
        distance = offset.abs() if self.ahead else (-offset).clamp_min(0)
        per_direction, exact = self.buckets_per_direction, self.exact_buckets
        growth = (per_direction - exact) / math.log(self.farthest / exact)
        logarithmic = exact + (distance.clamp_min(1) / exact).log().mul(growth).long()
        bucket = torch.where(distance < exact, distance, logarithmic.clamp_max(per_direction - 1))
        if self.ahead:
            bucket = bucket + per_direction * (offset > 0)
        return self.table[bucket].permute(0, 3, 1, 2)


class Shaw(seqx.PositionalEncoding):
    """Relative position representations (Shaw et al. 2018, section 3).

    Each clipped distance has two learned vectors: one is added to the keys (equation 4), the other to the
    values (equation 3). All heads and all layers of a stack share the vectors; in the paper only the heads of
    a layer share them.

    Args:
        farthest: largest distance that is distinguished; larger distances are clipped to it: k in the paper
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
        # the vectors that are added to the keys, and those added to the values
        self.keys, self.weighed = (
            nn.Parameter(nn.init.normal_(torch.empty(2 * farthest + 1, width), std=width**-0.5))
            for width in widths
        )

    def check(self, d_k: int, d_v: int) -> None:
        """Check that the vectors have the widths of keys and values.

        Raises:
            ValueError: they have other widths
        """
        _check_width(self.keys, d_k, "keys", "d_k")
        _check_width(self.weighed, d_v, "values", "d_v")

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return the dot products [B, H, T, S] of queries with the vectors for keys.

        Raises:
            ValueError: queries and vectors have different widths
        """
        _check_width(self.keys, q.size(-1), "keys", "d_k")
        products = q @ self.keys.T.to(q.dtype)  # [B, H, T, R]
        return products.gather(-1, self._indices(q_positions, k_positions, q.size(1)))

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return the sums of the vectors for values, weighted by the attention weights: [B, H, T, K]."""
        indices = self._indices(q_positions, k_positions, weights.size(1))
        by_distance = weights.new_zeros(*weights.shape[:3], len(self.weighed))
        by_distance = by_distance.scatter_add(-1, indices, weights)  # [B, H, T, R]
        return by_distance @ self.weighed.to(weights.dtype)

    def _indices(self, q_positions: Tensor, k_positions: Tensor, heads: int) -> Tensor:
        """Return the index in 0 ... R - 1 of the clipped distance of each query and key: [B, H, T, S]."""
        offset = k_positions[:, None, :] - q_positions[:, :, None]
        indices = offset.clamp(-self.farthest, self.farthest) + self.farthest  # [B, T, S]
        return indices[:, None].expand(-1, heads, -1, -1)


def _check_width(vectors: Tensor, width: int, added_to: str, setting: str) -> None:
    """Raise an error if vectors [R, K] do not have the width of the keys or values that they are added to."""
    if vectors.size(1) != width:
        raise ValueError(
            f"positions: vectors of width {vectors.size(1)} cannot be added to {added_to} of width {width}; "
            f"set {setting} of shaw to {width}"
        )


def _slopes(heads: int) -> list[float]:
    """Return ALiBi's slopes: 2^(-8 h / H) for h = 1 ... H if H is a power of two.

    Otherwise they are the slopes of the next lower power of two, followed by every second slope of the next
    higher power of two, as in the authors' code.
    """
    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    return slopes + [2 ** (-8 * (h + 1) / (2 * power)) for h in range(0, 2 * power, 2)][: heads - power]
