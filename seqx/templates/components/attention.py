import torch
from torch import Tensor, nn

import seqx
from seqx_transformer import ScoredAttention


class Newcomer(ScoredAttention):
    """L2 attention: queries prefer the keys that are near to them (Kim et al. 2021, section 4).

    Args:
        heads: number of heads; divides d_model
    """

    def __init__(self, d_model: int, *, heads: int = 8) -> None:
        super().__init__(d_model, heads=heads, scaled=False)
        self.factor = nn.Parameter(torch.full((heads, 1, 1), (d_model / heads) ** -0.5))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        # queries [B, H, T, K] and keys [B, H, S, K], with B sentences, H heads, T queries, S keys
        return -self.factor * torch.cdist(q, k).square()  # [B, H, T, S], before the softmax


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Attention, newcomer=Newcomer)
