"""The decoder of ConvS2S.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, C channels, k places that a
kernel sees.
"""

from itertools import pairwise
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

import seqx
from seqx_convolution.attention import AttentionStep, ProjectedSource, restrained
from seqx_convolution.block import Count, GatedConvolution, halved, shortcut
from seqx_convolution.embedding import Embedded
from seqx_convolution.weight_norm import WeightNormed


class ConvolutionState(NamedTuple):
    """What a decoder remembers between tokens."""

    lengths: Tensor  # [B] tokens written so far
    past: (
        tuple[Tensor, ...] | None
    )  # the last k - 1 inputs of each layer [B, k - 1, C]; None before the first
    source: ProjectedSource | None


class ConvolutionDecoderLayer(nn.Module):
    """A gated convolution over the past, attention to the source where there is one, and a residual sum."""

    def __init__(
        self, inputs: int, outputs: int, attention: seqx.Attention | None, *, kernel: int, dropout: float
    ) -> None:
        super().__init__()
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
        source: seqx.KeyValue | None,
        root: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """From [B, T, C] to [B, T, C], and the last k - 1 inputs that were no padding."""
        before, inside = self.convolution.kernel - 1, self.dropout(x)
        seen = F.pad(inside, (0, 0, before, 0)) if past is None else torch.cat([past, inside], 1)
        y = self.convolution(seen)
        if self.look is not None and source is not None and root is not None:
            y = self.look(y, embedded, layout, source, root)
        places = layout.keep.sum(1)[:, None] + torch.arange(before, device=x.device)  # [B, k - 1]
        last = seen.gather(1, places[..., None].expand(-1, -1, seen.size(2)))
        return halved(y, self.shortcut(x)), last


class ConvolutionDecoder(seqx.Decoder):
    """Gated convolutions over the past, each with attention to the source (Gehring et al. 2017, section 3).

    Attention finds the encoder's states and hands over their sums with the source's embeddings. Where the
    paper leaves open what is summed when, it is as in its authors' program: a layer's gated output, then
    attention's, then its input, and each sum of two times the root of a half.

    Args:
        layers: how many; 20 as for English to Romanian (section 5.1)
        width: channels of each layer; a list gives each layer its own
        kernel: places that each layer sees at once; a list gives each layer its own
        attention: what each layer looks at the source with; a list gives each layer its own; null: there is
            no source, as in a language model
        positions: what is added to the embeddings; null: nothing, order is known to the kernels alone
        source_positions: what is added to the source's embeddings that attention hands over; null: nothing
        dropout: share dropped in training of embeddings, each layer's input and the outputs (section 4.2)

    Raises:
        ValueError: when a list has another length than there are layers, or positions say nothing to
            embeddings
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
        for look in attentions:
            if look is not None:
                look.check(None)
        self.uses_source = attention is not None
        if attention is None and source_positions is not None:
            raise ValueError("source_positions, but no attention to a source; name one, or null for both")
        self.embedded = Embedded(positions, d_model, dropout=dropout)
        self.source = None if attention is None else Embedded(source_positions, d_model, dropout=dropout)
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
        """The state of `batch` sentences before the first token; it has one size, whatever the capacity."""
        lengths = torch.zeros(batch, dtype=torch.int64, device=self.enter.bias.device)
        if self.source is None:
            return ConvolutionState(lengths, None, None)
        assert memory is not None, "a decoder that reads is started from a source"
        looks = [layer.look for layer in self.layers if layer.look is not None]
        # Keys and values of all layers send gradients to the encoder, too much of them (section 3.4).
        states = restrained(memory.states, 0.5 / len(looks))
        values = halved(states, self.source(memory.inputs, memory.layout))
        positioned = seqx.Positioned.unordered(memory.layout)
        projected = tuple(look.attention.project(states, values, positioned) for look in looks)
        return ConvolutionState(lengths, None, ProjectedSource(projected, memory.layout.keep.sum(1).sqrt()))

    def forward(
        self, inputs: Tensor, state: ConvolutionState, keep: Tensor | None
    ) -> tuple[Tensor, ConvolutionState]:
        """Advance by embeddings [B, T, D]; returns outputs [B, T, D] and the state after them."""
        if keep is None:
            keep = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
        layout = seqx.Layout.of(keep, state.lengths)
        embedded = self.embedded(inputs, layout)
        x = self.enter(embedded)
        past = []
        for i, layer in enumerate(self.layers):
            before = None if state.past is None else state.past[i]
            source = None if state.source is None else state.source.projected[i]
            root = None if state.source is None else state.source.root
            x, last = layer(x, embedded, layout, before, source, root)
            past.append(last)
        after = ConvolutionState(state.lengths + keep.sum(1), tuple(past), state.source)
        return self.dropout(self.leave(x)), after
