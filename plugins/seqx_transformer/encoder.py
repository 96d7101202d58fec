"""The Transformer's encoder.

Letters in shapes: B sentences, S tokens, D = d_model.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import MultiHeadAttention
from seqx_transformer.dropout import Dropout
from seqx_transformer.feedforward import FeedForward, ReLU
from seqx_transformer.initialisation import Initialisation, Xavier
from seqx_transformer.norm import LayerNorm, Norm
from seqx_transformer.positions import Sinusoidal
from seqx_transformer.stack import Positions
from seqx_transformer.sublayer import Residual


class TransformerEncoderLayer(nn.Module):
    """Self-attention, then feed-forward."""

    def __init__(
        self, attention: seqx.Attention, feedforward: FeedForward, attended: Residual, transformed: Residual
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feedforward = feedforward
        self.attended = attended
        self.transformed = transformed

    def forward(self, x: Tensor, positioned: seqx.Positioned, mask: seqx.Mask) -> Tensor:
        """From [B, S, D] to [B, S, D]."""

        def attend(x: Tensor) -> Tensor:
            return self.attention(x, positioned, self.attention.project(x, x, positioned), mask)

        return self.transformed(self.attended(x, attend), self.feedforward)


class TransformerEncoder(seqx.Encoder):
    """A stack of self-attention and feed-forward layers (Vaswani et al. 2017, section 3.1).

    With `norm_place: pre` a last norm follows the stack; with `post` every layer ends with one already.

    Args:
        layers: how many
        attention: what each layer attends with; a list gives each layer its own
        feedforward: what follows attention in each layer
        positions: how the stack is told about order
        dropout: share dropped in training of each sub-layer's output and of the embeddings (section 5.4)
        norm: which norm stands around each sub-layer
        norm_place: after the residual sum (post) or before the sub-layer (pre)
        residual: factor of what a sub-layer's output is added to; DeepNorm's alpha
        initialisation: first values of the linear maps

    Raises:
        ValueError: when a list of attentions has another length than there are layers
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
        norm_place: Literal["post", "pre"] = "post",
        residual: Annotated[float, Gt(0)] = 1.0,
        initialisation: seqx.Make[Initialisation] = Xavier,
    ) -> None:
        super().__init__(d_model)

        def around() -> Residual:
            return Residual(norm(d_model), norm_place, dropout, residual)

        attentions = [make(d_model) for make in seqx.per_layer(attention, layers, "attention")]
        self.layers: seqx.Layers[TransformerEncoderLayer] = seqx.Layers(
            TransformerEncoderLayer(attends, feedforward(d_model), around(), around())
            for attends in attentions
        )
        initialisation()(self.layers)
        self.positions = Positions(positions, d_model, attentions)
        self.limit = self.positions.limit
        self.dropout = Dropout(dropout)
        self.norm = norm(d_model) if norm_place == "pre" else nn.Identity()

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        """From embeddings [B, S, D] to states [B, S, D]."""
        x = self.dropout(self.positions.embed(inputs, layout))
        for layer in self.layers:
            positioned = seqx.Positioned(self.positions.of(layer.attention.heads), layout)
            x = layer(x, positioned, seqx.Mask())
        return self.norm(x)
