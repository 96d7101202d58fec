"""Positional encodings that are added to word embeddings, and several at once.

Letters in shapes: B sentences, T tokens, D = d_model.
"""

import math
from collections.abc import Iterable
from functools import reduce
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

import seqx


class NoPositions(seqx.PositionalEncoding):
    """Says nothing about order: what lies around a causal mask is a bag of words."""


class Sinusoidal(seqx.PositionalEncoding):
    """Adds sines and cosines of geometrically growing wavelengths (Vaswani et al. 2017, section 3.5).

    Interleaved as printed there: even features are sines, odd ones cosines.

    Args:
        base: the longest wavelength is 2 pi times this

    Raises:
        ValueError: when d_model is odd
    """

    def __init__(self, d_model: int, heads: int, *, base: Annotated[float, Gt(1)] = 10000.0) -> None:
        super().__init__(d_model, heads)
        if d_model % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, not {d_model}")
        self.base = base

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Embeddings [B, T, D] plus what each of `positions` [B, T] looks like."""
        # Computed, not kept: a buffer would lose digits in a model that is cast to bfloat16.
        exponents = torch.arange(0, self.d_model, 2, device=positions.device) / self.d_model
        angles = positions[..., None] * torch.exp(exponents * -math.log(self.base))  # [B, T, D / 2]
        return x + torch.stack([angles.sin(), angles.cos()], -1).flatten(-2).to(x.dtype)


class Learned(seqx.PositionalEncoding):
    """Adds a learned vector per position (Gehring et al. 2017; Vaswani et al. 2017, table 3, row E).

    Args:
        limit: number of positions; longer sequences cannot be read or written
    """

    def __init__(self, d_model: int, heads: int, *, limit: Annotated[int, Gt(0)] = 512) -> None:
        super().__init__(d_model, heads)
        self.limit = limit
        self.table = nn.Parameter(torch.randn(limit, d_model) * d_model**-0.5)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Embeddings [B, T, D] plus the vectors of `positions` [B, T]."""
        return x + self.table[positions]


class Combined(seqx.PositionalEncoding):
    """Several encodings at once, in the order in which they are listed.

    Args:
        encodings: which ones; one at least

    Raises:
        ValueError: when there is none
    """

    def __init__(
        self, d_model: int, heads: int, *, encodings: list[seqx.Make[seqx.PositionalEncoding]]
    ) -> None:
        super().__init__(d_model, heads)
        if not encodings:
            raise ValueError("encodings is empty; name one at least, or take positions: none")
        self.encodings: seqx.Layers[seqx.PositionalEncoding] = seqx.Layers(
            make(d_model, heads) for make in encodings
        )
        self.limit = seqx.smallest_limit(*(encoding.limit for encoding in self.encodings))

    @property
    def acts_in_attention(self) -> bool:
        """Whether attention hears of order from any of them."""
        return any(encoding.acts_in_attention for encoding in self.encodings)

    @property
    def has_bias(self) -> bool:
        """Whether any of them adds to the scores."""
        return any(encoding.has_bias for encoding in self.encodings)

    @property
    def has_value_term(self) -> bool:
        """Whether any of them adds to the values."""
        return any(encoding.has_value_term for encoding in self.encodings)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Embeddings [B, T, D] that all have seen."""
        for encoding in self.encodings:
            x = encoding.embed(x, positions)
        return x

    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        """Queries [B, H, T, K] that all have seen."""
        for encoding in self.encodings:
            q = encoding.query(q, positions)
        return q

    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        """Keys [B, H, S, K] that all have seen."""
        for encoding in self.encodings:
            k = encoding.key(k, positions)
        return k

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """The sum of what they add to the scores."""
        return _sum(encoding.bias(q, k, q_positions, k_positions) for encoding in self.encodings)

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """The sum of what they add to the values."""
        return _sum(encoding.values(weights, q_positions, k_positions) for encoding in self.encodings)


def _sum(terms: Iterable[Tensor | None]) -> Tensor | None:
    given = [term for term in terms if term is not None]
    return reduce(Tensor.add, given) if given else None
