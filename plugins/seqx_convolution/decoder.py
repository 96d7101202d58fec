"""The decoder of ConvS2S.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, C channels, k kernel size.
"""

from itertools import pairwise
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

import seqx
from seqx_convolution.attention import AttentionStep, ProjectedSource, scale_gradient
from seqx_convolution.block import Count, GatedConvolution, outside_segment, scaled_sum, shortcut
from seqx_convolution.embedding import EmbeddingInput
from seqx_convolution.weight_norm import WeightNormed


class ConvolutionState(NamedTuple):
    """The state of the decoder between tokens."""

    lengths: Tensor  # [B] number of target tokens so far
    past: tuple[Tensor, ...] | None  # last k - 1 inputs of each layer [B, k - 1, C]; None before any token
    source: ProjectedSource | None  # None without a source


class ConvolutionDecoderLayer(nn.Module):
    """A gated causal convolution, attention to the source if there is one, and a residual connection."""

    def __init__(
        self, inputs: int, outputs: int, attention: seqx.Attention | None, *, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.padding = (kernel - 1, 0)
        self.dropout = nn.Dropout(dropout)
        self.convolution = GatedConvolution(inputs, outputs, kernel=kernel, dropout=dropout)
        self.look = None if attention is None else AttentionStep(attention, outputs)
        self.shortcut = shortcut(inputs, outputs)

    def forward(
        self,
        x: Tensor,
        embedded: Tensor,
        layout: seqx.Layout,
        past: Tensor | None,
        outside: Tensor | None,
        source: seqx.KeyValue | None,
        sqrt_lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Map [B, T, C] to [B, T, C]; also return the last k - 1 inputs that are not padding, as `past`.

        Args:
            x: inputs [B, T, C]
            embedded: embeddings of the target tokens with positions [B, T, D]
            layout: layout of the target tokens
            past: the k - 1 inputs before these tokens [B, k - 1, C]; None before the first token
            outside: see `outside_segment`; these positions of a window are replaced by zeros
            source: keys and values of the source
            sqrt_lengths: [B, 1] or [B, T] square roots of the numbers of source tokens
        """
        num_past, dropped = self.padding[0], self.dropout(x)
        inputs = F.pad(dropped, (0, 0, num_past, 0)) if past is None else torch.cat([past, dropped], 1)
        y = self.convolution(inputs, outside)
        if self.look is not None and source is not None and sqrt_lengths is not None:
            y = self.look(y, embedded, layout, source, sqrt_lengths)
        last = layout.keep.sum(1)[:, None] + torch.arange(num_past, device=x.device)  # [B, k - 1]
        past = inputs.gather(1, last[..., None].expand(-1, -1, inputs.size(2)))
        return scaled_sum(y, self.shortcut(x)), past


class ConvolutionDecoder(seqx.Decoder):
    """Gated causal convolutions, each with attention to the source (Gehring et al. 2017, section 3).

    The keys of attention are the encoder's states; the values are states plus source embeddings. The paper
    does not state the order of the sums in a layer. It is that of the authors' code: the context is added to
    the gated output, then the layer's input to this sum. Each of the two sums is multiplied by sqrt(0.5).

    Args:
        layers: number of layers; 20, the default, is the number for English to Romanian (section 5.1)
        width: number of channels of each layer; a list has one for each layer
        kernel: kernel size of each layer; a list has one for each layer
        attention: attention of each layer to the source; a list has one for each layer; null: no source, as
            in a language model
        positions: positional encoding of the target; null: none, so only the convolutions depend on the order
            of tokens
        source_positions: positional encoding of the source embeddings in the values; null: none
        dropout: dropout probability of embeddings, each layer's input and the outputs (section 4.2)

    Raises:
        ValueError: a list does not have one item for each layer; a positional encoding acts in attention
    """

    def __init__(
        self,
        d_model: int,
        *,
        layers: Count = 20,
        width: Count | list[Count] = 512,
        kernel: Count | list[Count] = 3,
        attention: seqx.Make[seqx.Attention] | list[seqx.Make[seqx.Attention]] | None,
        positions: seqx.Make[seqx.PositionalEncoding] | None = None,
        source_positions: seqx.Make[seqx.PositionalEncoding] | None = None,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
    ) -> None:
        super().__init__(d_model)
        widths = seqx.per_layer(width, layers, "width")
        kernels = seqx.per_layer(kernel, layers, "kernel")
        makers = seqx.per_layer(attention, layers, "attention")
        attentions = [None if make is None else make(d_model) for make in makers]
        for built_attention in attentions:
            if built_attention is not None:
                built_attention.check(None)
        self.uses_source = attention is not None
        if attention is None and source_positions is not None:
            raise ValueError(
                "source_positions needs attention to a source; set attention, or source_positions: null"
            )
        self.embedded = EmbeddingInput(positions, d_model, dropout=dropout)
        self.source = (
            None if attention is None else EmbeddingInput(source_positions, d_model, dropout=dropout)
        )
        self.limit = seqx.smallest_limit(
            self.embedded.limit, None if self.source is None else self.source.limit
        )
        self.enter = WeightNormed(d_model, widths[0], dropout=dropout)
        self.layers: seqx.Layers[ConvolutionDecoderLayer] = seqx.Layers(
            ConvolutionDecoderLayer(inputs, outputs, attention, kernel=k, dropout=dropout)
            for (inputs, outputs), attention, k in zip(
                pairwise([widths[0], *widths]), attentions, kernels, strict=True
            )
        )
        self.leave = WeightNormed(widths[-1], d_model)
        self.dropout = nn.Dropout(dropout)

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> ConvolutionState:
        """Project the source for each layer; return the state before the first token.

        The state does not grow, so `capacity` is not used.
        """
        lengths = torch.zeros(batch, dtype=torch.int64, device=self.enter.bias.device)
        if self.source is None:
            return ConvolutionState(lengths, None, None)
        assert memory is not None, "check() guarantees a source"
        steps = [layer.look for layer in self.layers if layer.look is not None]
        # Keys and values of all layers contribute to the encoder's gradient, so section 3.4 scales it down.
        states = scale_gradient(memory.states, 0.5 / len(steps))
        values = scaled_sum(states, self.source(memory.inputs, memory.layout))
        positioned = seqx.Positioned.unordered(memory.layout)
        projected = tuple(step.attention.project(states, values, positioned) for step in steps)
        sqrt_lengths = memory.layout.keep.sum(1, keepdim=True).sqrt()
        return ConvolutionState(lengths, None, ProjectedSource(projected, sqrt_lengths))

    def forward(
        self, inputs: Tensor, state: ConvolutionState, keep: Tensor | None
    ) -> tuple[Tensor, ConvolutionState]:
        """Advance by embeddings [B, T, D]; return outputs [B, T, D] and the state after them."""
        if keep is None:
            keep = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
        return self._advance(inputs, state, seqx.Layout.of(keep, state.lengths))

    @property
    def reads_packed_rows(self) -> bool:
        """True if all attentions can read packed rows, and no subclass has its own `forward`."""
        return type(self).forward is ConvolutionDecoder.forward and all(
            layer.look is None or layer.look.attention.reads_packed_rows for layer in self.layers
        )

    def read(self, inputs: Tensor, memory: seqx.Memory | None, layout: seqx.Layout) -> Tensor:
        """Return the outputs [B, T, D] of rows that hold several sequences."""
        state = self.start(memory, len(inputs), None)
        if state.source is not None and memory is not None:
            sqrt_lengths = segment_lengths(memory.layout, layout).sqrt()
            state = state._replace(source=state.source._replace(sqrt_lengths=sqrt_lengths))
        return self._advance(inputs, state, layout)[0]

    def _advance(
        self, inputs: Tensor, state: ConvolutionState, layout: seqx.Layout
    ) -> tuple[Tensor, ConvolutionState]:
        """Advance by embeddings [B, T, D] with a layout."""
        embedded = self.embedded(inputs, layout)
        x = self.enter(embedded)
        paddings = {layer.padding for layer in self.layers}
        outside = {padding: outside_segment(layout, *padding) for padding in paddings}
        past = []
        for i, layer in enumerate(self.layers):
            layer_past = None if state.past is None else state.past[i]
            source = None if state.source is None else state.source.projected[i]
            sqrt_lengths = None if state.source is None else state.source.sqrt_lengths
            x, layer_past = layer(
                x, embedded, layout, layer_past, outside[layer.padding], source, sqrt_lengths
            )
            past.append(layer_past)
        new_state = ConvolutionState(state.lengths + layout.keep.sum(1), tuple(past), state.source)
        return self.dropout(self.leave(x)), new_state


def segment_lengths(source: seqx.Layout, target: seqx.Layout) -> Tensor:
    """Return the number of source tokens [B, T] in the segment of each target token."""
    assert source.segments is not None, "the rows are packed"
    assert target.segments is not None, "the rows are packed"
    # There are at least as many source tokens as segments.
    counts = torch.zeros_like(source.segments).scatter_add_(1, source.segments, source.keep.long())
    return counts.gather(1, target.segments)
