import torch.nn.functional as F
from torch import Tensor, nn

import seqx


class Newcomer(seqx.InputLayer):
    """A linear map of each pair of adjacent vectors (Sak et al. 2015)."""

    def __init__(self, size: int, d_model: int) -> None:
        super().__init__(size, d_model)
        self.linear = nn.Linear(2 * size, d_model)

    def forward(self, source: seqx.Column) -> tuple[Tensor, seqx.Layout]:
        values = F.pad(source.values, (0, 0, 0, source.values.size(1) % 2))  # an even number of vectors
        pairs = values.reshape(values.size(0), -1, 2 * values.size(2))  # [B, S', 2 F]
        return self.linear(pairs), seqx.Layout.of(source.layout.keep[:, ::2])

    def output_length(self, length: int) -> int:
        return (length + 1) // 2


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.InputLayer, newcomer=Newcomer)
