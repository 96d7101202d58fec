"""The Transformer's decoder.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model.
"""

from typing import Annotated, Literal, NamedTuple

import torch
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


class TransformerState(NamedTuple):
    """What a decoder remembers between tokens."""

    lengths: Tensor  # [B] tokens written so far
    past: tuple[seqx.KeyValue, ...] | None  # what each layer projected of them; None before the first
    source: tuple[seqx.KeyValue, ...] | None  # what each layer projected of the source


class TransformerDecoderLayer(nn.Module):
    """Self-attention, attention to the source where there is one, then feed-forward."""

    def __init__(
        self,
        attention: seqx.Attention,
        cross_attention: seqx.Attention | None,
        feedforward: FeedForward,
        attended: Residual,
        crossed: Residual | None,
        transformed: Residual,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.cross_attention = cross_attention
        self.feedforward = feedforward
        self.attended = attended
        self.crossed = crossed
        self.transformed = transformed

    def forward(
        self, x: Tensor, positioned: seqx.Positioned, past: seqx.KeyValue | None, source: seqx.KeyValue | None
    ) -> tuple[Tensor, seqx.KeyValue]:
        """From [B, T, D] to [B, T, D], and all that self-attention has projected so far."""
        seen = past

        def attend(x: Tensor) -> Tensor:
            nonlocal seen
            new = self.attention.project(x, x, positioned)
            seen = new if past is None else past.extend(new)
            return self.attention(x, positioned, seen, seqx.Mask(causal=True))

        x = self.attended(x, attend)
        look, crossed = self.cross_attention, self.crossed
        if look is not None and crossed is not None and source is not None:
            x = crossed(
                x, lambda x: look(x, seqx.Positioned.unordered(positioned.layout), source, seqx.Mask())
            )
        x = self.transformed(x, self.feedforward)
        assert seen is not None, "a residual calls its sub-layer"
        return x, seen


class TransformerDecoder(seqx.Decoder):
    """A stack of causal self-attention, attention to the source and feed-forward (Vaswani et al. 2017, 3.1).

    With `norm_place: pre` a last norm follows the stack; with `post` every layer ends with one already.

    Args:
        layers: how many
        attention: what each layer attends to its past with; a list gives each layer its own
        cross_attention: what each layer attends to the source with; as `attention` when left out
        cross: whether there is a source to attend to; a language model has none
        feedforward: what follows attention in each layer
        positions: how the stack is told about order
        dropout: share dropped in training of each sub-layer's output and of the embeddings (section 5.4)
        norm: which norm stands around each sub-layer
        norm_place: after the residual sum (post) or before the sub-layer (pre)
        residual: factor of what a sub-layer's output is added to; DeepNorm's alpha
        initialisation: first values of the linear maps

    Raises:
        ValueError: when a list of attentions has another length than there are layers, or one is for a single
            sequence and looks at the source; when `cross_attention` is set and `cross` is not
    """

    source_setting = "cross"

    def __init__(
        self,
        d_model: int,
        *,
        layers: Annotated[int, Gt(0)] = 6,
        attention: seqx.Make[seqx.Attention] | list[seqx.Make[seqx.Attention]] = MultiHeadAttention,
        cross_attention: seqx.Make[seqx.Attention] | list[seqx.Make[seqx.Attention]] | None = None,
        cross: bool = True,
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

        def layer(attends: seqx.Attention, looks: seqx.Attention | None) -> TransformerDecoderLayer:
            crossed = None if looks is None else around()
            return TransformerDecoderLayer(attends, looks, feedforward(d_model), around(), crossed, around())

        attentions = [make(d_model) for make in seqx.per_layer(attention, layers, "attention")]
        if cross_attention is not None and not cross:
            raise ValueError("cross_attention needs a source to look at; leave it out, or set cross: true")
        across = attention if cross_attention is None else cross_attention
        looks = [
            make(d_model) if cross else None for make in seqx.per_layer(across, layers, "cross_attention")
        ]
        for look in looks:
            if look is not None:
                look.check(None)
        self.uses_source = cross
        self.layers: seqx.Layers[TransformerDecoderLayer] = seqx.Layers(map(layer, attentions, looks))
        initialisation()(self.layers)
        self.positions = Positions(positions, d_model, attentions)
        self.limit = self.positions.limit
        self.dropout = Dropout(dropout)
        self.norm = norm(d_model) if norm_place == "pre" else nn.Identity()

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> TransformerState:
        """The state of `batch` sentences before the first token; the cache grows, whatever the capacity."""
        device = next(self.parameters()).device
        lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        if not self.uses_source:
            return TransformerState(lengths, None, None)
        assert memory is not None, "a decoder that reads is started from a source"
        positioned = seqx.Positioned.unordered(memory.layout)
        looks = [layer.cross_attention for layer in self.layers]
        states = memory.states
        source = tuple(look.project(states, states, positioned) for look in looks if look is not None)
        return TransformerState(lengths, None, source)

    def forward(
        self, inputs: Tensor, state: TransformerState, keep: Tensor | None
    ) -> tuple[Tensor, TransformerState]:
        """Advance by embeddings [B, T, D]; returns outputs [B, T, D] and the state after them."""
        if keep is None:
            keep = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
        layout = seqx.Layout.of(keep, state.lengths)
        x = self.dropout(self.positions.embed(inputs, layout))
        past = []
        for i, layer in enumerate(self.layers):
            positioned = seqx.Positioned(self.positions.of(layer.attention.heads), layout)
            before = None if state.past is None else state.past[i]
            source = None if state.source is None else state.source[i]
            x, seen = layer(x, positioned, before, source)
            past.append(seen)
        return self.norm(x), TransformerState(state.lengths + keep.sum(1), tuple(past), state.source)
