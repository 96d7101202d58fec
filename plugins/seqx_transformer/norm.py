"""Normalisation of each position's vector.

Letters in shapes: B sentences, T tokens, D = d_model.
"""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn


class Norm(nn.Module, ABC):
    """Brings each position's vector to a common scale."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """From [B, T, D] to [B, T, D]."""


class LayerNorm(Norm):
    """Mean 0 and variance 1, then a learned gain and bias (Ba et al. 2016).

    Args:
        eps: added to the variance
    """

    def __init__(self, d_model: int, *, eps: Annotated[float, Gt(0)] = 1e-5) -> None:
        super().__init__(d_model)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """From [B, T, D] to [B, T, D]."""
        return F.layer_norm(x, (self.d_model,), self.weight, self.bias, self.eps)


class RMSNorm(Norm):
    """Mean square 1, then a learned gain (Zhang and Sennrich 2019).

    Args:
        eps: added to the mean square
    """

    def __init__(self, d_model: int, *, eps: Annotated[float, Gt(0)] = 1e-6) -> None:
        super().__init__(d_model)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """From [B, T, D] to [B, T, D]."""
        return F.rms_norm(x, (self.d_model,), self.weight.to(x.dtype), self.eps)
