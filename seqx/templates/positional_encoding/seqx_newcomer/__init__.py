"""A positional encoding that learns how attention changes with distance.

Letters in shapes: B sentences, T queries, S keys, H heads, K the width of a head.
"""

from typing import Annotated

import seqx
import torch
from annotated_types import Gt
from torch import Tensor, nn


class Newcomer(seqx.PositionalEncoding):
    """Adds to scores a learned function of the distance as a share of the position (FIRE, Li et al. 2024).

    Distances are shares of the query's own position, or of a learned threshold where that is larger, so that
    longer sentences than those trained on look like known ones (section 3.2).

    Args:
        hidden: width of the network that maps a share to a number for each head
        threshold: positions below it count as this one, at first
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        *,
        hidden: Annotated[int, Gt(0)] = 32,
        threshold: Annotated[float, Gt(0)] = 64.0,
    ) -> None:
        super().__init__(d_model, heads)
        self.network = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, heads))
        self.growth = nn.Parameter(torch.tensor(0.1))
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Numbers that are added to the scores, [B, H, T, S]."""
        distances = (q_positions[:, :, None] - k_positions[:, None, :]).abs()  # [B, T, S]
        whole = torch.maximum(q_positions.float(), self.threshold.abs())  # [B, T]
        shares = self._squeeze(distances) / self._squeeze(whole)[:, :, None]
        numbers: Tensor = self.network(shares[..., None])  # [B, T, S, H]
        return numbers.permute(0, 3, 1, 2)

    def _squeeze(self, numbers: Tensor) -> Tensor:
        return torch.log1p(self.growth.abs() * numbers)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer it to recipes."""
    registry.add(seqx.PositionalEncoding, newcomer=Newcomer)
