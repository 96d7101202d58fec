"""The parts of encoder and decoder layers: gated convolutions, and sums that preserve the variance.

Letters in shapes: B sentences, T positions, C channels, k kernel size.
"""

import math
from typing import Annotated, TypeVar

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

import seqx
from seqx_convolution.weight_norm import WeightNormed

T = TypeVar("T")
Count = Annotated[int, Gt(0)]
"""A positive number of layers, channels or positions."""


class GatedConvolution(nn.Module):
    """A convolution and a gated linear unit, A * sigmoid(B) (Dauphin et al. 2016; Gehring et al. 2017, 3.2).

    Args:
        inputs: number of input channels
        outputs: number of output channels
        kernel: kernel size k
        dropout: dropout probability of the inputs, which the initialisation depends on
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, dropout: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.map = WeightNormed(kernel * inputs, 2 * outputs, dropout=dropout, gated=True)

    def forward(self, x: Tensor, outside: Tensor | None = None) -> Tensor:
        """Map [B, T + k - 1, C] to [B, T, C], without padding.

        Args:
            x: the inputs
            outside: the positions of each window [k, B, T, 1] that are replaced by zeros; None: none are
        """
        length = x.size(1) - self.kernel + 1
        # One matrix product over windows is faster than conv1d in bfloat16 on CPUs.
        shifted = [x[:, i : i + length] for i in range(self.kernel)]
        if outside is not None:
            shifted = [part.masked_fill(outside[i], 0.0) for i, part in enumerate(shifted)]
        return F.glu(self.map(torch.cat(shifted, -1)), -1)  # of [B, T, k C]


def outside_segment(layout: seqx.Layout, before: int, after: int) -> Tensor | None:
    """Return the positions of each window that belong to another segment [k, B, T, 1]; None: one segment.

    Args:
        layout: the layout of T positions
        before: the number of positions of a window before its own position
        after: the number of positions after it
    """
    if layout.segments is None:
        return None
    length = layout.segments.size(1)
    padded = F.pad(layout.segments, (before, after), value=-1)
    shifted = torch.stack([padded[:, i : i + length] for i in range(before + 1 + after)])
    return (shifted != layout.segments)[..., None]


def scaled_sum(x: Tensor, y: Tensor) -> Tensor:
    """Return (x + y) sqrt(0.5); if x and y have the same variance, the sum has it, too (section 3.4)."""
    return (x + y) * math.sqrt(0.5)


def shortcut(inputs: int, outputs: int) -> nn.Module:
    """Build the residual connection of a layer: the identity, or a linear map if the width changes."""
    return nn.Identity() if inputs == outputs else WeightNormed(inputs, outputs)
