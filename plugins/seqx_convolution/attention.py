"""Multi-step attention: a decoder's layers look at the source one after the other.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, C channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

import seqx
from seqx_convolution.block import halved
from seqx_convolution.weight_norm import WeightNormed


class ProjectedSource(NamedTuple):
    """What the layers of a decoder look at."""

    projected: tuple[seqx.KeyValue, ...]  # by the attention of each layer
    root: Tensor  # [B] the square root of the number of source tokens


class AttentionStep(nn.Module):
    """One step: asks with a layer's output and the last token's embedding (Gehring et al. 2017, section 3.3).

    What the attention gives is a mean over the source's tokens; times the root of their number its variance
    is that of one of them, were they all looked at alike (section 3.4). The attention's own linear maps start
    as all that no gated linear unit follows (section 3.5).
    """

    def __init__(self, attention: seqx.Attention, width: int) -> None:
        super().__init__()
        for module in attention.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.attention = attention
        self.query = WeightNormed(width, attention.d_model)
        self.output = WeightNormed(attention.d_model, width)

    def forward(
        self, x: Tensor, embedded: Tensor, layout: seqx.Layout, source: seqx.KeyValue, root: Tensor
    ) -> Tensor:
        """From a layer's outputs [B, T, C] and its tokens' embeddings [B, T, D] to [B, T, C]."""
        queries = halved(self.query(x), embedded)
        found = self.attention(queries, seqx.Positioned.unordered(layout), source, seqx.Mask())
        return halved(x, self.output(found * root.to(found.dtype)[:, None, None]))


def restrained(x: Tensor, factor: float) -> Tensor:
    """The same numbers; their gradient is multiplied by a factor."""
    return torch.lerp(x.detach(), x, factor)  # between a number and itself: exact
