"""A relative positional encoding that generalizes to longer sequences.

Letters in shapes: B sentences, T queries, S keys, H heads, K the width of a head.
"""

from typing import Annotated

import seqx
import torch
from annotated_types import Gt
from torch import Tensor, nn


class Newcomer(seqx.PositionalEncoding):
    """FIRE: a bias that is a learned function of the relative distance (Li et al. 2024).

    The distance is divided by the position of the query, or by a learned threshold if that is larger. In a
    decoder, relative distances are therefore between 0 and 1 in sentences of any length (section 3.2).

    Args:
        hidden: width of the network that maps a relative distance to a bias for each head
        threshold: initial value of the learned threshold
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
        """Return the bias of the attention scores, [B, H, T, S]."""
        distances = (q_positions[:, :, None] - k_positions[:, None, :]).abs()  # [B, T, S]
        normalizer = torch.maximum(q_positions.float(), self.threshold.abs())  # [B, T]
        relative = self._log_scaled(distances) / self._log_scaled(normalizer)[:, :, None]
        bias: Tensor = self.network(relative[..., None])  # [B, T, S, H]
        return bias.permute(0, 3, 1, 2)

    def _log_scaled(self, distances: Tensor) -> Tensor:
        return torch.log1p(self.growth.abs() * distances)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the component under its name in recipes."""
    registry.add(seqx.PositionalEncoding, newcomer=Newcomer)
