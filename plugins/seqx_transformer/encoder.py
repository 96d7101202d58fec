"""The Transformer's encoder.

Letters in shapes: B sentences, S tokens, D = d_model.
"""

from functools import partial
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import MultiHeadAttention
from seqx_transformer.feedforward import FeedForward, ReLU
from seqx_transformer.initialisation import Initialisation, Xavier
from seqx_transformer.norm import LayerNorm, Norm
from seqx_transformer.positions import Sinusoidal
from seqx_transformer.stack import Residual, TransformerStack


class TransformerEncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each inside a residual connection."""

    def __init__(
        self, attention: seqx.Attention, feedforward: FeedForward, attended: Residual, transformed: Residual
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feedforward = feedforward
        self.attended = attended
        self.transformed = transformed

    def forward(self, x: Tensor, positioned: seqx.Positioned, mask: seqx.Mask) -> Tensor:
        """Map [B, S, D] to [B, S, D]."""
        h = self.attended.before(x)
        h = self.attention(h, positioned, self.attention.project(h, h, positioned), mask)
        x = self.attended(x, h)
        h = self.feedforward(self.transformed.before(x))
        return self.transformed(x, h)


class TransformerEncoder(TransformerStack, seqx.Encoder):
    """Layers of self-attention and feed-forward (Vaswani et al. 2017, section 3.1).

    With pre-norm, a norm follows the last layer.

    Args:
        layers: number of layers
        attention: self-attention of each layer; a list names one for each layer
        feedforward: feed-forward network of each layer
        positions: positional encoding
        dropout: dropout probability of each sub-layer's output and of the embeddings (section 5.4)
        norm: norm of each sub-layer
        norm_order: post: after the residual sum, as in the paper; pre: before the sub-layer
        residual_scale: factor of the residual connection: DeepNorm's alpha
        initialisation: initial weights of the linear maps

    Raises:
        ValueError: the number of listed attentions is not the number of layers
    """

    def __init__(
        self,
        d_model: int,
        *,
        layers: Annotated[int, Gt(0)] = 6,
        attention: seqx.Make[seqx.Attention] | list[seqx.Make[seqx.Attention]] = MultiHeadAttention,
        feedforward: seqx.Make[FeedForward] = ReLU,
        positions: seqx.Make[seqx.PositionalEncoding] = Sinusoidal,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
        norm: seqx.Make[Norm] = LayerNorm,
        norm_order: Literal["post", "pre"] = "post",
        residual_scale: Annotated[float, Gt(0)] = 1.0,
        initialisation: seqx.Make[Initialisation] = Xavier,
    ) -> None:
        super().__init__(d_model)
        connection = partial(Residual, norm, d_model, norm_order, dropout, residual_scale)
        attentions = [make(d_model) for make in seqx.per_layer(attention, layers, "attention")]
        self.layers: seqx.Layers[TransformerEncoderLayer] = seqx.Layers(
            TransformerEncoderLayer(self_attention, feedforward(d_model), connection(), connection())
            for self_attention in attentions
        )
        self._complete(
            attentions,
            positions=positions,
            initialisation=initialisation,
            norm=norm,
            order=norm_order,
            dropout=dropout,
        )

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        """Map embeddings [B, S, D] to states [B, S, D]."""
        x = self._embed(inputs, layout)
        for layer in self.layers:
            x = layer(x, self.positions.positioned(layer.attention, layout), seqx.Mask())
        return self.norm(x)
