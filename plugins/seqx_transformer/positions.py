"""Learned positions, no positions, and the combination of several encodings.

Letters in shapes: B sentences, T tokens, D = d_model, H heads.
"""

from collections.abc import Iterable
from functools import partial, reduce
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

import seqx
from seqx_transformer.specification import added_vectors


class NoPositions(seqx.PositionalEncoding):
    """No positional encoding: apart from the causal mask, attention is order-invariant."""

    def specification(self) -> seqx.PositionsSpec:
        """Return a description of the encoding for exporters."""
        return seqx.PositionsSpec(kind="none", vectors=partial(added_vectors, self))


class Learned(seqx.PositionalEncoding):
    """A learned vector for each position, added to embeddings (Gehring et al. 2017, section 3.1).

    Vaswani et al. 2017 compare it with sinusoids in row E of table 3.

    Args:
        limit: number of positions, and so the maximum length of a sequence
    """

    def __init__(self, d_model: int, heads: int, *, limit: Annotated[int, Gt(0)] = 512) -> None:
        super().__init__(d_model, heads)
        self.limit = limit
        self.table = nn.Parameter(nn.init.normal_(torch.empty(limit, d_model), std=d_model**-0.5))

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Add the vectors of `positions` [B, T] to embeddings [B, T, D]."""
        return x + self.table[positions]

    def specification(self) -> seqx.PositionsSpec:
        """Return a description of the encoding for exporters."""
        return seqx.PositionsSpec(kind="learned", vectors=partial(added_vectors, self))


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

    def prepare(self, positions: Tensor) -> seqx.PositionalEncoding:
        """Return the combination of the prepared encodings."""
        prepared = [encoding.prepare(positions) for encoding in self.encodings]
        if all(new is old for new, old in zip(prepared, self.encodings, strict=True)):
            return self
        made = [lambda *_, encoding=encoding: encoding for encoding in prepared]
        return Combined(self.d_model, self.heads, encodings=made)

    @property
    def acts_in_attention(self) -> bool:
        """True if any of the encodings acts in attention."""
        return any(encoding.acts_in_attention for encoding in self.encodings)

    @property
    def has_bias(self) -> bool:
        """True if any of the encodings adds to the scores."""
        return any(encoding.has_bias for encoding in self.encodings)

    @property
    def has_value_term(self) -> bool:
        """True if any of the encodings adds to the values."""
        return any(encoding.has_value_term for encoding in self.encodings)

    def check(self, d_k: int, d_v: int) -> None:
        """Check that all encodings support these widths.

        Raises:
            ValueError: one of them does not
        """
        for encoding in self.encodings:
            encoding.check(d_k, d_v)

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
    """Return the sum of the terms that are not None; None if there are none."""
    tensors = [term for term in terms if term is not None]
    return reduce(Tensor.add, tensors) if tensors else None
