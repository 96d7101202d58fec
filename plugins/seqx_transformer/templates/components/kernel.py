from torch import Tensor

import seqx
from seqx_transformer import HeadInputs, Kernel, dense_bias, fused_limitation


class Newcomer(Kernel):
    """The softmax as a quotient: the weighted sum of the values is divided by the sum of the weights."""

    def limitation(self, inputs: HeadInputs) -> str | None:
        return fused_limitation(inputs, dropout=False)

    def __call__(self, inputs: HeadInputs) -> Tensor:
        scores = inputs.queries @ inputs.memory.keys.mT + dense_bias(inputs)  # [B, H, T, S]
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        return weights @ inputs.memory.values / weights.sum(-1, keepdim=True)  # [B, H, T, V]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(Kernel, newcomer=Newcomer)
