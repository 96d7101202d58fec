"""The parts that the Transformer's encoder and decoder share.

Letters in shapes: B sentences, T tokens, D = d_model, H heads.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

import seqx
from seqx_transformer.dropout import Dropout
from seqx_transformer.initialisation import Initialisation
from seqx_transformer.norm import Norm

NormOrder = Literal["post", "pre"]
"""The norm comes after the residual sum (post) or before the sub-layer (pre)."""


class Residual(nn.Module):
    """The residual connection around a sub-layer, with its norm and dropout.

    Post-norm is Norm(scale x + Dropout(Sublayer(x))) (Vaswani et al. 2017, section 5.4); with a `scale` above
    1 it is DeepNorm (Wang et al. 2022, arXiv:2203.00555).

    Pre-norm is scale x + Dropout(Sublayer(Norm(x))) (Xiong et al. 2020, figure 1b).

    A layer passes `before(x)` to the sub-layer, and calls the residual with x and the sub-layer's output.
    """

    def __init__(
        self, norm: seqx.Make[Norm], d_model: int, order: NormOrder, dropout: float, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.scale = scale
        self.norm = norm(d_model)
        self.order = order
        self.dropout = Dropout(dropout)

    def before(self, x: Tensor) -> Tensor:
        """Return the input [B, T, D] of the sub-layer."""
        return self.norm(x) if self.order == "pre" else x

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """Add the sub-layer's output to x, both [B, T, D]."""
        total = (x if self.scale == 1 else x * self.scale) + self.dropout(output)
        return total if self.order == "pre" else self.norm(total)


class StackPositions(nn.Module):
    """The positional encoding of a stack, shared by its layers.

    An encoding that acts in attention is built once for each number of heads that the layers have. Only the
    one for the first layer's number of heads changes the embeddings.

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
        first, *others = dict.fromkeys(attention.heads for attention in attentions)
        encoding = make(d_model, first)
        self.encodings = nn.ModuleDict({str(first): encoding})
        self._first = str(first)
        for heads in others if encoding.acts_in_attention else ():
            self.encodings[str(heads)] = make(d_model, heads)
            if _has_learned_embedding(self._encoding(heads)):
                raise ValueError(
                    "positions: this encoding acts in attention and also learns parameters for embeddings; "
                    f"all layers must have the same number of heads, not {first} and {heads}"
                )
        for attention in attentions:
            attention.check(self._encoding(attention.heads))

    @property
    def limit(self) -> int | None:
        """The largest number of positions that can be encoded; None: no limit."""
        return self._encoding(int(self._first)).limit

    def embed(self, x: Tensor, layout: seqx.Layout) -> Tensor:
        """Apply the encoding to embeddings [B, T, D].

        Under autocast the result has autocast's type, and with it the whole residual stream. Otherwise each
        linear map of the stack would convert its input again.
        """
        x = self._encoding(int(self._first)).embed(x, layout.positions)
        device = x.device.type
        return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x

    def positioned(self, attention: seqx.Attention, layout: seqx.Layout) -> seqx.Positioned:
        """Return the encoding that fits an attention, with the positions of the tokens."""
        return seqx.Positioned(self._encoding(attention.heads), layout)

    def _encoding(self, heads: int) -> seqx.PositionalEncoding:
        name = str(heads) if str(heads) in self.encodings else self._first
        return cast("seqx.PositionalEncoding", self.encodings[name])


class TransformerStack(nn.Module):
    """Base class of the Transformer's encoder and decoder.

    The names of attributes here and in the layers are the names of weights in saved models.
    """

    renamed: ClassVar[Mapping[str, str]] = {"norm_place": "norm_order", "residual": "residual_scale"}

    d_model: int
    layers: seqx.Layers[Any]

    def _complete(
        self,
        attentions: Sequence[seqx.Attention],
        *,
        positions: seqx.Make[seqx.PositionalEncoding],
        initialisation: seqx.Make[Initialisation],
        norm: seqx.Make[Norm],
        order: NormOrder,
        dropout: float,
    ) -> None:
        """Initialise the layers and add positions, dropout and, for pre-norm, the final norm."""
        initialisation()(self.layers)
        self.positions = StackPositions(positions, self.d_model, attentions)
        self.limit = self.positions.limit
        self.dropout = Dropout(dropout)
        # With post-norm the last layer ends with a norm already.
        self.norm = norm(self.d_model) if order == "pre" else nn.Identity()

    def _embed(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        """Return the input [B, T, D] of the first layer: embeddings with positions and dropout."""
        return self.dropout(self.positions.embed(inputs, layout))


@torch.enable_grad()
def _has_learned_embedding(encoding: seqx.PositionalEncoding) -> bool:
    """Return true if the encoding adds something learned to embeddings."""
    positions = torch.zeros(1, 1, dtype=torch.int64)
    return encoding.embed(torch.zeros(1, 1, encoding.d_model), positions).requires_grad
