"""What the layers of encoder and decoder are made of: a gated convolution, and sums that keep the variance.

Letters in shapes: B sentences, T places, C channels, k places that a kernel sees.
"""

import math
from typing import Annotated, TypeVar

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from seqx_convolution.weight_norm import WeightNormed

T = TypeVar("T")
Count = Annotated[int, Gt(0)]
"""A number of layers, of channels, of places."""


class GatedConvolution(nn.Module):
    """Convolution, then a gated linear unit (Dauphin et al. 2016; Gehring et al. 2017, section 3.2).

    Args:
        inputs: channels before
        outputs: channels after
        kernel: places that one output sees
        dropout: share of the inputs that was dropped
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, dropout: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.map = WeightNormed(kernel * inputs, 2 * outputs, dropout=dropout, gated=True)

    def forward(self, x: Tensor) -> Tensor:
        """From [B, T + k - 1, C] to [B, T, C]: no place is added."""
        places = x.size(1) - self.kernel + 1
        # One matrix product with what each kernel sees side by side: faster than conv1d in bfloat16 on CPUs.
        seen = torch.cat([x[:, i : i + places] for i in range(self.kernel)], -1)  # [B, T, k C]
        return F.glu(self.map(seen), -1)


def halved(x: Tensor, y: Tensor) -> Tensor:
    """The sum of two, with the variance of one (section 3.4)."""
    return (x + y) * math.sqrt(0.5)


def shortcut(inputs: int, outputs: int) -> nn.Module:
    """What goes round a layer: the identity, or a linear map where the layer changes the width."""
    return nn.Identity() if inputs == outputs else WeightNormed(inputs, outputs)
