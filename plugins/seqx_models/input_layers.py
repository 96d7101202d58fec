"""Input layers for sources of vectors, such as frames of audio or patches of images.

Letters in shapes: B sentences, S source tokens, F features of a token, D = d_model.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

import seqx


class Projection(seqx.InputLayer):
    """A linear map of each vector. The source keeps its length.

    The initial embeddings of vectors whose features have variance 1 have variance 1, too.
    """

    def __init__(self, size: int, d_model: int) -> None:
        super().__init__(size, d_model)
        self.linear = nn.Linear(size, d_model)
        nn.init.normal_(self.linear.weight, std=size**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, source: seqx.Column) -> tuple[Tensor, seqx.Layout]:
        """Return the embeddings [B, S, D] of vectors [B, S, F], and the layout of the source."""
        return self.linear(source.values), source.layout


class StridedConvolution(seqx.InputLayer):
    """Convolutions that shorten the source, followed by a linear map (Radford et al. 2022, section 2.2).

    Each convolution is followed by a GELU. With stride s and n layers, S tokens become about S / s^n
    embeddings, so that self-attention needs less memory.

    Args:
        layers: number of convolutions
        kernel: number of adjacent tokens that a convolution reads
        stride: distance between the tokens at which a convolution is computed
        channels: width of the convolutions; d_model if left out

    Raises:
        ValueError: the stride is larger than the kernel, which would skip tokens
    """

    def __init__(
        self,
        size: int,
        d_model: int,
        *,
        layers: Annotated[int, Gt(0)] = 2,
        kernel: Annotated[int, Gt(0)] = 3,
        stride: Annotated[int, Gt(0)] = 2,
        channels: Annotated[int, Gt(0)] | None = None,
    ) -> None:
        super().__init__(size, d_model)
        if stride > kernel:
            raise ValueError(
                f"stride is {stride} and kernel {kernel}, which skips tokens; set kernel: {stride}"
            )
        width = channels or d_model
        widths = [size] + [width] * layers
        self.convolutions = nn.ModuleList(nn.Conv1d(*both, kernel, stride) for both in pairwise(widths))
        self.linear = nn.Linear(width, d_model)
        self.stride = stride
        self.padding = (kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2

    def forward(self, source: seqx.Column) -> tuple[Tensor, seqx.Layout]:
        """Return the embeddings [B, S', D] of vectors [B, S, F], and their layout."""
        x, layout = source.values.transpose(1, 2), source.layout
        for convolution in self.convolutions:
            x = F.gelu(convolution(F.pad(x, self.padding)))
            layout = _strided(layout, self.stride)
            x = x.masked_fill(~layout.keep[:, None], 0)  # the next convolution must not read padding
        return self.linear(x.transpose(1, 2)), layout

    def output_length(self, length: int) -> int:
        """Return the number of embeddings of a source of `length` tokens."""
        for _ in self.convolutions:
            length = -(-length // self.stride)
        return length


def _strided(layout: seqx.Layout, stride: int) -> seqx.Layout:
    """Return the layout of every `stride`-th token."""
    segments = None if layout.segments is None else layout.segments[:, ::stride]
    return seqx.Layout.of(layout.keep[:, ::stride])._replace(segments=segments)


def with_embedded_source(
    lengths: Mapping[str, seqx.Integers], layer: seqx.InputLayer | seqx.ScaledEmbedding
) -> Mapping[str, seqx.Integers]:
    """Return the lengths [N] of columns, with the number of embeddings as the length of each source."""
    different, inverse = np.unique(lengths["source"], return_inverse=True)
    embedded = np.array([layer.output_length(int(length)) for length in different])
    return {**lengths, "source": embedded[inverse]}
