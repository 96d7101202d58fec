"""The kernel without fused operations, for all inputs and devices."""

from torch import Tensor

from seqx_transformer.kernels.kernel import HeadInputs, Kernel


class Eager(Kernel):
    """Scores, softmax and weighted sum as separate operations; accepts all inputs.

    It is the fastest for short sequences on CPUs. It needs memory for the weights of all pairs of tokens.
    """

    def limitation(self, inputs: HeadInputs) -> None:
        """Return None: the kernel computes all inputs."""
        return

    def __call__(self, inputs: HeadInputs) -> Tensor:
        """Return the outputs of all heads [B, H, T, V]."""
        weights = inputs.dropout(scores(inputs).add_(dense_bias(inputs)).softmax(-1))  # [B, H, T, S]
        heads = weights @ inputs.memory.values
        added = inputs.positioned.values(weights, inputs.memory)
        return heads if added is None else heads + added


def scores(inputs: HeadInputs) -> Tensor:
    """Return the scores [B, H, T, S] without mask and positional term."""
    q, k = inputs.queries, inputs.memory.keys
    return q @ k.mT if inputs.scores is None else inputs.scores(q, k)


def dense_bias(inputs: HeadInputs) -> Tensor:
    """Return the sum of mask and positional term [B or 1, H or 1, T, S], for kernels that need one tensor."""
    dtype = inputs.queries.dtype
    bias = inputs.mask.additive(inputs.positioned.layout, inputs.memory.layout, dtype)
    return bias if inputs.positional is None else bias + inputs.positional.to(dtype)
