"""Positional encodings that are added to embeddings, and combinations of encodings.

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
    """No positional encoding: apart from the causal mask, attention is order-invariant."""


class Sinusoidal(seqx.PositionalEncoding):
    """Fixed sines and cosines, added to embeddings (Vaswani et al. 2017, section 3.5).

    PE(pos, 2i) = sin(pos / base^(2i / d_model)) and PE(pos, 2i + 1) = cos(pos / base^(2i / d_model)).

    Args:
        base: base of the wavelengths, which reach 2 pi base

    Raises:
        ValueError: d_model is odd
    """

    def __init__(self, d_model: int, heads: int, *, base: Annotated[float, Gt(1)] = 10000.0) -> None:
        super().__init__(d_model, heads)
        if d_model % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, not {d_model}")
        self.base = base

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Add the encodings of `positions` [B, T] to embeddings [B, T, D]."""
        # Not a buffer: it would lose precision in a model that is cast to bfloat16.
        exponents = torch.arange(0, self.d_model, 2, device=positions.device) / self.d_model
        angles = positions[..., None] * torch.exp(exponents * -math.log(self.base))  # [B, T, D / 2]
        return x + torch.stack([angles.sin(), angles.cos()], -1).flatten(-2).to(x.dtype)


class Learned(seqx.PositionalEncoding):
    """A learned vector for each position, added to embeddings (Gehring et al. 2017, section 3.1).

    Row E of table 3 in Vaswani et al. 2017.

    Args:
        limit: number of positions, and so the length of the longest sequence
    """

    def __init__(self, d_model: int, heads: int, *, limit: Annotated[int, Gt(0)] = 512) -> None:
        super().__init__(d_model, heads)
        self.limit = limit
        self.table = nn.Parameter(torch.randn(limit, d_model) * d_model**-0.5)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Add the vectors of `positions` [B, T] to embeddings [B, T, D]."""
        return x + self.table[positions]


class Combined(seqx.PositionalEncoding):
    """Several encodings, applied in the listed order; their biases and value terms are added up.

    Args:
        encodings: the encodings, at least one

    Raises:
        ValueError: the list is empty
    """

    def __init__(
        self, d_model: int, heads: int, *, encodings: list[seqx.Make[seqx.PositionalEncoding]]
    ) -> None:
        super().__init__(d_model, heads)
        if not encodings:
            raise ValueError("encodings is empty; list at least one, or set positions: none")
        self.encodings: seqx.Layers[seqx.PositionalEncoding] = seqx.Layers(
            make(d_model, heads) for make in encodings
        )
        self.limit = seqx.smallest_limit(*(encoding.limit for encoding in self.encodings))

    @property
    def acts_in_attention(self) -> bool:
        """Return true if any of the encodings acts in attention."""
        return any(encoding.acts_in_attention for encoding in self.encodings)

    @property
    def has_bias(self) -> bool:
        """Return true if any of the encodings adds to the scores."""
        return any(encoding.has_bias for encoding in self.encodings)

    @property
    def has_value_term(self) -> bool:
        """Return true if any of the encodings adds to the values."""
        return any(encoding.has_value_term for encoding in self.encodings)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Apply all encodings to embeddings [B, T, D]."""
        for encoding in self.encodings:
            x = encoding.embed(x, positions)
        return x

    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        """Apply all encodings to queries [B, H, T, K]."""
        for encoding in self.encodings:
            q = encoding.query(q, positions)
        return q

    def key(self, k: Tensor, positions: Tensor) -> Tensor:
        """Apply all encodings to keys [B, H, S, K]."""
        for encoding in self.encodings:
            k = encoding.key(k, positions)
        return k

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """Return the sum of the biases [B or 1, H or 1, T, S]; None if there are none."""
        return _sum(encoding.bias(q, k, q_positions, k_positions) for encoding in self.encodings)

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """Return the sum of the value terms [B, H, T, K]; None if there are none."""
        return _sum(encoding.values(weights, q_positions, k_positions) for encoding in self.encodings)


def _sum(terms: Iterable[Tensor | None]) -> Tensor | None:
    tensors = [term for term in terms if term is not None]
    return reduce(Tensor.add, tensors) if tensors else None
