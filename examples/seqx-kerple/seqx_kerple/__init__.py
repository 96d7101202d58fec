"""KERPLE: relative positions by conditionally positive definite kernels (Chi et al. 2022).

Letters in shapes: B sentences, T queries, S keys, H heads, K the width of a head.
"""

import seqx
import torch
from torch import Tensor, nn

__all__ = ["Logarithmic", "Power"]


class Logarithmic(seqx.PositionalEncoding):
    """The bias -r1 log(1 + r2 |distance|) with r1, r2 > 0 learned by each head (logarithmic kernel)."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        # The parameters are the logarithms of r1 and r2, so that r1 and r2 stay positive.
        self.height = nn.Parameter(torch.rand(heads).mul(2).clamp_min(0.1).log())
        self.growth = nn.Parameter(torch.rand(heads).clamp_min(0.1).log())

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return the bias of the scores [B, H, T, S]."""
        distances = _distances(q_positions, k_positions)
        return -_per_head(self.height.exp()) * torch.log1p(_per_head(self.growth.exp()) * distances)


class Power(seqx.PositionalEncoding):
    """The bias -r1 |distance|^r2 with r1 > 0 and 0 < r2 < 2 learned by each head (power kernel)."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        self.height = nn.Parameter(torch.rand(heads).clamp_min(0.1).log())
        self.power = nn.Parameter(torch.randn(heads))

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Return the bias of the scores [B, H, T, S]."""
        distances = _distances(q_positions, k_positions)
        return -_per_head(self.height.exp()) * distances ** _per_head(2 * self.power.sigmoid())


def _distances(q_positions: Tensor, k_positions: Tensor) -> Tensor:
    return (q_positions[:, None, :, None] - k_positions[:, None, None, :]).abs().float()  # [B, 1, T, S]


def _per_head(values: Tensor) -> Tensor:
    return values[:, None, None]  # [H, 1, 1]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register both kernels."""
    registry.add(seqx.PositionalEncoding, kerple=Logarithmic, kerple_power=Power)
