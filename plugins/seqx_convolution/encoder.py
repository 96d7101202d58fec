"""The encoder of ConvS2S.

Letters in shapes: B sentences, S tokens, D = d_model, C channels.
"""

from itertools import pairwise
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

import seqx
from seqx_convolution.block import Count, GatedConvolution, outside_segment, scaled_sum, shortcut
from seqx_convolution.embedding import EmbeddingInput
from seqx_convolution.weight_norm import WeightNormed


class ConvolutionEncoderLayer(nn.Module):
    """A gated convolution whose windows are centred on each position, and a residual connection."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, dropout: float) -> None:
        super().__init__()
        self.padding = ((kernel - 1) // 2, kernel // 2)
        self.dropout = nn.Dropout(dropout)
        self.convolution = GatedConvolution(inputs, outputs, kernel=kernel, dropout=dropout)
        self.shortcut = shortcut(inputs, outputs)

    def forward(self, x: Tensor, keep: Tensor, outside: Tensor | None) -> Tensor:
        """Map [B, S, C] to [B, S, C].

        Args:
            x: inputs [B, S, C]
            keep: [B, S]; padding, where it is false, is replaced by zeros
            outside: see `outside_segment`; these positions of a window are replaced by zeros, too
        """
        dropped = self.dropout(x).masked_fill(~keep[..., None], 0.0)
        padded = F.pad(dropped, (0, 0, *self.padding))
        return scaled_sum(self.convolution(padded, outside), self.shortcut(x))


class ConvolutionEncoder(seqx.Encoder):
    """A stack of gated convolutions (Gehring et al. 2017, arXiv:1705.03122, section 3.2).

    A linear map before the first layer maps embeddings to channels, and another one after the last layer maps
    channels to states. All linear maps and convolutions have weight normalisation.

    Args:
        layers: number of layers; 20, the default, is the number for English to Romanian (section 5.1)
        width: number of channels of each layer; a list has one for each layer
        kernel: kernel size of each layer; a list has one for each layer
        positions: positional encoding; null: none, so only the convolutions depend on the order of tokens
        dropout: dropout probability of the embeddings and of each layer's input (section 4.2)

    Raises:
        ValueError: a list does not have one item for each layer; the positional encoding acts in attention
    """

    def __init__(
        self,
        d_model: int,
        *,
        layers: Count = 20,
        width: Count | list[Count] = 512,
        kernel: Count | list[Count] = 3,
        positions: seqx.Make[seqx.PositionalEncoding] | None = None,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
    ) -> None:
        super().__init__(d_model)
        widths = seqx.per_layer(width, layers, "width")
        kernels = seqx.per_layer(kernel, layers, "kernel")
        self.embedded = EmbeddingInput(positions, d_model, dropout=dropout)
        self.limit = self.embedded.limit
        self.enter = WeightNormed(d_model, widths[0], dropout=dropout)
        self.layers: seqx.Layers[ConvolutionEncoderLayer] = seqx.Layers(
            ConvolutionEncoderLayer(inputs, outputs, kernel=k, dropout=dropout)
            for (inputs, outputs), k in zip(pairwise([widths[0], *widths]), kernels, strict=True)
        )
        self.leave = WeightNormed(widths[-1], d_model)

    @property
    def reads_packed_rows(self) -> bool:
        """True: windows contain zeros in place of other segments."""
        return True

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        """Map embeddings [B, S, D] to states [B, S, D]."""
        x = self.enter(self.embedded(inputs, layout))
        paddings = {layer.padding for layer in self.layers}
        outside = {padding: outside_segment(layout, *padding) for padding in paddings}
        for layer in self.layers:
            x = layer(x, layout.keep, outside[layer.padding])
        return self.leave(x)
