"""Linear maps with normalised weights.

Letters in shapes: I inputs, O outputs.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WeightNormed(nn.Module):
    """A linear map of which each row of weights is a direction and a length (Salimans and Kingma 2016).

    First weights are normal, with the variance of Gehring et al. 2017, section 3.5: the share of inputs that
    dropout keeps over the number of inputs, four times that in front of a gated linear unit, which takes away
    three quarters of the variance. Biases start at zero.

    While nothing is learnt, weights are made once and kept until a parameter changes: a search calls for
    them with every token.

    Args:
        inputs: how many
        outputs: how many
        dropout: share of the inputs that was dropped
        gated: whether a gated linear unit follows
    """

    def __init__(self, inputs: int, outputs: int, *, dropout: float = 0.0, gated: bool = False) -> None:
        super().__init__()
        std = ((4 if gated else 1) * (1 - dropout) / inputs) ** 0.5
        self.direction = nn.Parameter(torch.randn(outputs, inputs) * std)  # [O, I]
        self.length = nn.Parameter(self.direction.detach().norm(dim=1))  # [O]
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._kept: tuple[Any, Tensor] | None = None

    @property
    def weight(self) -> Tensor:
        """Directions of length 1 times lengths: [O, I]."""
        return self.direction * (self.length / self.direction.norm(dim=1))[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """From [..., I] to [..., O]."""
        return F.linear(x, self._weight(), self.bias)

    def train(self, mode: bool = True) -> Self:
        """As of any module; kept weights go."""
        self._kept = None
        return super().train(mode)

    def _weight(self) -> Tensor:
        if torch.compiler.is_compiling():
            return self.weight
        if self.training or torch.is_grad_enabled():
            self._kept = None  # a fused optimizer changes parameters, and does not tell
            return self.weight
        device = self.direction.device.type
        cast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if cast else self.direction.dtype
        # What autograd itself tells by that a tensor was changed in place.
        changes = [(p.data_ptr(), p._version) for p in (self.direction, self.length)]  # noqa: SLF001
        key = (dtype, *changes)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self.weight.to(dtype)
        return self._kept[1]
