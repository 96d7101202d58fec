"""The fused kernel of torch for CPUs."""

import torch
import torch.nn.functional as F
from torch import Tensor

from seqx_transformer.kernels.kernel import HeadInputs, Kernel, dense_bias, fused_limitation

PAIRS = 512 * 512
"""The smallest number of pairs of query and key for which the kernel is faster than `eager` in float32."""


class Cpu(Kernel):
    """Flash attention on a CPU in float32, without memory for the weights of all pairs of tokens.

    In bfloat16 it is slower than `eager`, forward and backward.
    """

    def limitation(self, inputs: HeadInputs) -> str | None:
        """Return a reason why the kernel cannot compute the inputs; None if it can."""
        if inputs.queries.device.type != "cpu":
            return "it runs on a CPU only"
        if inputs.queries.dtype != torch.float32:
            return "it is slow in precisions other than fp32"
        if inputs.positional is not None and inputs.positional.requires_grad:
            return "it computes no gradient of the term that the positional encoding adds to the scores"
        return fused_limitation(inputs, dropout=False)

    def __call__(self, inputs: HeadInputs) -> Tensor:
        """Return the outputs of all heads [B, H, T, V]."""
        q, k, v = inputs.queries, inputs.memory.keys, inputs.memory.values
        return F.scaled_dot_product_attention(q, k, v, dense_bias(inputs), scale=1.0)
