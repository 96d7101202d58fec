"""Encodings that are added to embeddings, the combination of several encodings, and the encoding of a stack.

Letters in shapes: B sentences, T tokens, D = d_model, H heads.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Annotated, cast

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
        base: base of the wavelengths; the longest one is about 2 pi base

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

    Vaswani et al. 2017 compare it with sinusoids in row E of table 3.

    Args:
        limit: number of positions, and so the maximum length of a sequence
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
    """Return the sum of the terms that are not None; None if there are none."""
    tensors = [term for term in terms if term is not None]
    return reduce(Tensor.add, tensors) if tensors else None


class StackPositions(nn.Module):
    """The positional encoding of a stack, shared by its layers.

    If the layers have different numbers of heads, an encoding that acts in attention is built once for each
    of these numbers. The embeddings are changed only by the one that is built for the first layer.

    Args:
        make: builds the encoding
        d_model: width of the embeddings
        attentions: the self-attention of each layer

    Raises:
        ValueError: an attention does not support the encoding; or layers have different numbers of heads, and
            the encoding acts in attention and has learned parameters for embeddings
    """

    def __init__(
        self,
        make: Callable[..., seqx.PositionalEncoding],
        d_model: int,
        attentions: Sequence[seqx.Attention],
    ) -> None:
        super().__init__()
        first_heads, *other_heads = dict.fromkeys(attention.heads for attention in attentions)
        encoding = make(d_model, first_heads)
        self.encodings = nn.ModuleDict({str(first_heads): encoding})
        self._first_heads = first_heads
        for heads in other_heads if encoding.acts_in_attention else ():
            self.encodings[str(heads)] = make(d_model, heads)
            if _has_learned_embedding(self._encoding(heads)):
                raise ValueError(
                    "positions: this encoding acts in attention and also has learned parameters for "
                    f"embeddings; set the same number of heads in all layers, not {first_heads} and {heads}"
                )
        for attention in attentions:
            attention.check(self._encoding(attention.heads))

    @property
    def limit(self) -> int | None:
        """The largest number of positions that can be encoded; None: no limit."""
        return self._encoding(self._first_heads).limit

    def embed(self, x: Tensor, layout: seqx.Layout) -> Tensor:
        """Apply the encoding to embeddings [B, T, D].

        Under autocast the result has the dtype of autocast, and so has the whole residual stream. Otherwise
        each linear map of the stack would convert its input.
        """
        x = self._encoding(self._first_heads).embed(x, layout.positions)
        device = x.device.type
        return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x

    def positioned(self, attention: seqx.Attention, layout: seqx.Layout) -> seqx.Positioned:
        """Return the encoding for an attention's number of heads, together with the layout of the tokens."""
        return seqx.Positioned(self._encoding(attention.heads), layout)

    def _encoding(self, heads: int) -> seqx.PositionalEncoding:
        name = str(heads if str(heads) in self.encodings else self._first_heads)
        return cast("seqx.PositionalEncoding", self.encodings[name])


@torch.enable_grad()
def _has_learned_embedding(encoding: seqx.PositionalEncoding) -> bool:
    """Return true if the encoding has learned parameters that change embeddings."""
    positions = torch.zeros(1, 1, dtype=torch.int64)
    return encoding.embed(torch.zeros(1, 1, encoding.d_model), positions).requires_grad
