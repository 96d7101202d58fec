"""Layer normalisation and RMS normalisation.

Letters in shapes: B sentences, T tokens, D = d_model.
"""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn


class Norm(nn.Module, ABC):
    """Normalisation of the vector at each position.

    The output has the dtype of the input, so that the residual stream keeps its dtype.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, T, D] over the last dimension."""


class LayerNorm(Norm):
    """(x - mean) / sqrt(variance + eps) * gain + bias (Ba et al. 2016); gain and bias are learned.

    Args:
        eps: term added to the variance
    """

    def __init__(self, d_model: int, *, eps: Annotated[float, Gt(0)] = 1e-5) -> None:
        super().__init__(d_model)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, T, D] over the last dimension."""
        # The CPU kernel accepts float32 weights with bfloat16 inputs; the CUDA kernel does not.
        kind = self.weight.dtype if x.device.type == "cpu" else x.dtype
        with without_autocast(x):
            return F.layer_norm(x, (self.d_model,), self.weight.to(kind), self.bias.to(kind), self.eps)


class RMSNorm(Norm):
    """x / sqrt(mean square + eps) * gain (Zhang and Sennrich 2019); the gain is learned.

    Args:
        eps: term added to the mean square
    """

    def __init__(self, d_model: int, *, eps: Annotated[float, Gt(0)] = 1e-6) -> None:
        super().__init__(d_model)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, T, D] over the last dimension."""
        with without_autocast(x):
            return F.rms_norm(x, (self.d_model,), self.weight.to(x.dtype), self.eps)


def without_autocast(x: Tensor) -> torch.autocast:
    """Disable autocast, which on CUDA would make the output, and so the residual stream, float32.

    The kernels compute means and variances in float32 for every dtype of x.
    """
    return torch.autocast(x.device.type, enabled=False)
