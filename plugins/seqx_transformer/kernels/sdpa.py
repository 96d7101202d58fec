"""The fused kernels of torch for accelerators."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

import seqx
from seqx_transformer.kernels.kernel import HeadInputs, Kernel, dense_bias, fused_limitation


class Sdpa(Kernel):
    """`torch.nn.functional.scaled_dot_product_attention`, which chooses a fused kernel of the device."""

    applies_scale: ClassVar[bool] = True

    def limitation(self, inputs: HeadInputs) -> str | None:
        """Return a reason why the kernel cannot compute the inputs; None if it can."""
        if torch.are_deterministic_algorithms_enabled():
            return "with a mask it sums gradients in an order that varies between runs"
        return fused_limitation(inputs, dropout=True)

    def __call__(self, inputs: HeadInputs) -> Tensor:
        """Return the outputs of all heads [B, H, T, V]."""
        dropout = inputs.dropout.p if inputs.dropout.training else 0.0
        q, k, v = inputs.queries, inputs.memory.keys, inputs.memory.values
        causal = inputs.positional is None and _is_causal(inputs.positioned.layout, inputs.mask)
        bias = None if causal else dense_bias(inputs)
        return F.scaled_dot_product_attention(q, k, v, bias, dropout, causal, scale=inputs.scale)

    def prepare(self, queries: seqx.Layout, keys: seqx.Layout, mask: seqx.Mask, like: Tensor) -> None:
        """Compute the mask, unless the kernel needs none."""
        if not _is_causal(queries, mask):
            super().prepare(queries, keys, mask, like)


def _is_causal(queries: seqx.Layout, mask: seqx.Mask) -> bool:
    """Return true if the causal kernels, such as flash attention, give the same result without a mask."""
    return mask.is_triangular and queries.segments is None
