"""Linear maps with weight normalisation.

Letters in shapes: I inputs, O outputs.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WeightNormed(nn.Module):
    """A linear map with weight normalisation: each row of W is length x direction / |direction|.

    See Salimans and Kingma 2016, equation 2. Initial weights are normal with the variance of Gehring et al.
    2017, section 3.5: (1 - dropout) / inputs, and four times that before a gated linear unit, which reduces
    the variance to a quarter. Biases start at zero.

    Outside of training, W is computed once and cached until a parameter changes, because a search needs it
    for every token.

    Args:
        inputs: number of input features, I
        outputs: number of output features, O
        dropout: dropout probability of the inputs, which the initialisation depends on
        gated: true if a gated linear unit follows
    """

    def __init__(self, inputs: int, outputs: int, *, dropout: float = 0.0, gated: bool = False) -> None:
        super().__init__()
        std = ((4 if gated else 1) * (1 - dropout) / inputs) ** 0.5
        self.direction = nn.Parameter(nn.init.normal_(torch.empty(outputs, inputs), std=std))  # [O, I]
        self.length = nn.Parameter(_norms_of_rows(self.direction.detach()))  # [O]
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._cached: tuple[Any, Tensor] | None = None

    @property
    def weight(self) -> Tensor:
        """The weights W [O, I]."""
        return self.direction * (self.length / self.direction.norm(dim=1))[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Return W x + b: map [..., I] to [..., O]."""
        return F.linear(x, self._current_weight(), self.bias)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, and empty the cache."""
        self._cached = None
        return super().train(mode)

    def _current_weight(self) -> Tensor:
        """Return W, from the cache if it is valid."""
        if torch.compiler.is_compiling():
            return self.weight
        if self.training or torch.is_grad_enabled():
            self._cached = None  # fused optimizers do not change _version
            return self.weight
        device = self.direction.device.type
        cast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if cast else self.direction.dtype
        # Autograd counts in-place changes of a tensor in _version.
        changes = [(p.data_ptr(), p._version) for p in (self.direction, self.length)]  # noqa: SLF001
        key = (dtype, *changes)
        if self._cached is None or self._cached[0] != key:
            self._cached = key, self.weight.to(dtype)
        return self._cached[1]


def _norms_of_rows(x: Tensor) -> Tensor:
    """Return the norm of each row of x [O, I], without values on the meta device, where computing is slow."""
    return x.new_empty(len(x)) if x.is_meta else x.norm(dim=1)
