"""KERPLE: relative positions as conditionally positive definite kernels (Chi et al. 2022).

Letters in shapes: B sentences, T queries, S keys, H heads, K the width of a head.
"""

import seqx
import torch
from torch import Tensor, nn

__all__ = ["Logarithmic", "Power"]


class Logarithmic(seqx.PositionalEncoding):
    """Adds -r1 log(1 + r2 distance) to the scores; each head learns r1 and r2 (the logarithmic variant)."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        # Both must stay positive: their logarithms are learned.
        self.height = nn.Parameter(torch.rand(heads).mul(2).clamp_min(0.1).log())
        self.growth = nn.Parameter(torch.rand(heads).clamp_min(0.1).log())

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Numbers that are added to the scores, [B, H, T, S]."""
        distances = _distances(q_positions, k_positions)
        return -_wide(self.height.exp()) * torch.log1p(_wide(self.growth.exp()) * distances)


class Power(seqx.PositionalEncoding):
    """Adds -r1 distance^r2 to the scores; each head learns r1, and r2 below 2 (the power variant)."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        self.height = nn.Parameter(torch.rand(heads).clamp_min(0.1).log())
        self.power = nn.Parameter(torch.randn(heads))

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Numbers that are added to the scores, [B, H, T, S]."""
        distances = _distances(q_positions, k_positions)
        return -_wide(self.height.exp()) * distances ** _wide(2 * self.power.sigmoid())


def _distances(q_positions: Tensor, k_positions: Tensor) -> Tensor:
    return (q_positions[:, None, :, None] - k_positions[:, None, None, :]).abs().float()  # [B, 1, T, S]


def _wide(by_head: Tensor) -> Tensor:
    return by_head[:, None, None]  # [H, 1, 1]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer both kernels."""
    registry.add(seqx.PositionalEncoding, kerple=Logarithmic, kerple_power=Power)
