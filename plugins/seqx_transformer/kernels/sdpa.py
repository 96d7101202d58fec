"""The fused kernels of torch for accelerators."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

import seqx
from seqx_transformer.kernels.kernel import (
    FEW,
    HeadInputs,
    Kernel,
    as_rows,
    dense_bias,
    fused_limitation,
    with_repeated_groups,
)


class Sdpa(Kernel):
    """`torch.nn.functional.scaled_dot_product_attention`, which chooses a fused kernel of the device."""

    applies_scale: ClassVar[bool] = True
    reads_groups: ClassVar[bool] = True

    def limitation(self, inputs: HeadInputs) -> str | None:
        """Return a reason why the kernel cannot compute the inputs; None if it can."""
        if torch.are_deterministic_algorithms_enabled():
            return "with a mask it sums gradients in an order that varies between runs"
        return fused_limitation(inputs, dropout=True)

    def __call__(self, inputs: HeadInputs) -> Tensor:
        """Return the outputs of all heads [B, H, T, V]."""
        dropout = inputs.dropout.p if inputs.dropout.training else 0.0
        causal = inputs.positional is None and _is_causal(inputs.positioned.layout, inputs.mask)
        # Fused kernels read keys and values of each head. With few queries, as in a search, the heads of a
        # group become rows of one head instead. Such rows need a mask of their own, which would be large with
        # many queries, and the causal kernels take none. In these cases keys and values are repeated.
        has_groups = inputs.memory.keys.size(1) < inputs.queries.size(1)
        if has_groups and (causal or inputs.queries.size(2) > FEW):
            inputs = with_repeated_groups(inputs)
        q, k, v = inputs.queries, inputs.memory.keys, inputs.memory.values
        bias, heads = None if causal else dense_bias(inputs), q.size(1)
        if bias is not None and k.size(1) < heads:
            q, bias = as_rows(q, k.size(1)), as_rows(bias.expand(-1, heads, -1, -1), k.size(1))
        outputs = F.scaled_dot_product_attention(q, k, v, bias, dropout, causal, scale=inputs.scale)
        return outputs.reshape(*inputs.queries.shape[:3], -1)

    def prepare(self, queries: seqx.Layout, keys: seqx.Layout, mask: seqx.Mask, like: Tensor) -> None:
        """Compute the mask, unless the kernel needs none."""
        if not _is_causal(queries, mask):
            super().prepare(queries, keys, mask, like)


def _is_causal(queries: seqx.Layout, mask: seqx.Mask) -> bool:
    """Return true if the causal kernels, such as flash attention, give the same result without a mask."""
    return mask.is_triangular and queries.segments is None
