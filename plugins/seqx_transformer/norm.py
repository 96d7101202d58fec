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
    """Brings each position's vector to a common scale.

    The result has the type of the input, because it is added to the residual stream.
    """

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
        # The CPU's kernel accepts float32 weights with bfloat16 inputs, CUDA's does not.
        kind = self.weight.dtype if x.device.type == "cpu" else x.dtype
        with without_autocast(x):
            return F.layer_norm(x, (self.d_model,), self.weight.to(kind), self.bias.to(kind), self.eps)


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
        with without_autocast(x):
            return F.rms_norm(x, (self.d_model,), self.weight.to(x.dtype), self.eps)


def without_autocast(x: Tensor) -> torch.autocast:
    """Disable autocast for CUDA, under which norms, and so all residual sums, would be float32.

    The kernels compute means and variances in float32 for every type of x.
    """
    return torch.autocast(x.device.type, enabled=False)
