import torch
from torch import Tensor, nn

import seqx


class Newcomer(seqx.PositionalEncoding):
    """A bias of -log(1 + distance), times a slope that is learned for each head."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        self.slopes = nn.Parameter(torch.ones(heads, 1, 1))

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        distances = (q_positions[:, None, :, None] - k_positions[:, None, None, :]).abs()  # [B, 1, T, S]
        return -self.slopes * distances.float().log1p()  # [B, H, T, S]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.PositionalEncoding, newcomer=Newcomer)
