"""Multi-step attention: each layer of the decoder attends to the source (Gehring et al. 2017, section 3.3).

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, C channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

import seqx
from seqx_convolution.block import scaled_sum
from seqx_convolution.weight_norm import WeightNormed


class ProjectedSource(NamedTuple):
    """The source, projected for the attention of each layer."""

    projected: tuple[seqx.KeyValue, ...]  # the keys and values for the attention of each layer
    # [B, 1] square roots of the numbers of source tokens; in packed rows [B, T], those of the source tokens
    # in the segment of each target token
    sqrt_lengths: Tensor


class AttentionStep(nn.Module):
    """One step of multi-step attention.

    The query is a projection of the layer's output plus the embedding of the previous target token (equation
    1). The context of m source tokens is multiplied by sqrt(m), which restores the variance if all attention
    weights are equal (section 3.4, where the factor is written as m sqrt(1/m)). The linear maps of the
    attention are initialised like linear maps that no gated linear unit follows (section 3.5).
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
        self, x: Tensor, embedded: Tensor, layout: seqx.Layout, source: seqx.KeyValue, sqrt_lengths: Tensor
    ) -> Tensor:
        """Add the context to a layer's outputs, as `scaled_sum` does.

        Args:
            x: outputs of the layer [B, T, C]
            embedded: embeddings of the target tokens with positions [B, T, D]
            layout: layout of the target tokens
            source: keys and values of the source
            sqrt_lengths: [B, 1] or [B, T] square roots of the numbers of source tokens
        """
        queries = scaled_sum(self.query(x), embedded)
        context = self.attention(queries, seqx.Positioned.unordered(layout), source, seqx.Mask())
        return scaled_sum(x, self.output(context * sqrt_lengths.to(context.dtype)[..., None]))


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return x unchanged, with a gradient that is multiplied by `factor`."""
    return torch.lerp(
        x.detach(), x, factor
    )  # exact, because both ends of the interpolation are the same number
