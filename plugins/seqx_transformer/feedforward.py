"""Feed-forward sub-layers: what happens at each position alone.

Letters in shapes: B sentences, T tokens, D = d_model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from seqx_transformer.dropout import Dropout


class FeedForward(nn.Module, ABC):
    """Transforms each position by itself."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """From [B, T, D] to [B, T, D]."""


class ReLU(FeedForward):
    """Two linear maps with a ReLU between them (Vaswani et al. 2017, section 3.3).

    Args:
        width: of the inner layer; four times d_model when left out
        dropout: share of the inner layer dropped in training
        bias: whether both maps add a bias
    """

    def __init__(
        self,
        d_model: int,
        *,
        width: Annotated[int, Gt(0)] | None = None,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__(d_model)
        width = width or 4 * d_model
        self.inner = self.linear(d_model, width, bias)
        self.outer = self.linear(width, d_model, bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """From [B, T, D] to [B, T, D]."""
        return self.outer(self.dropout(self.activate(self.inner(x))))

    def linear(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """A linear map of each position's features."""
        return nn.Linear(inputs, outputs, bias)

    def activate(self, x: Tensor) -> Tensor:
        """The function between the two maps."""
        return F.relu(x)


class GELU(ReLU):
    """Two linear maps with a GELU between them (Hendrycks and Gimpel 2016)."""

    def activate(self, x: Tensor) -> Tensor:
        """The function between the two maps."""
        return F.gelu(x)


class Convolutions(ReLU):
    """Two convolutions of width 1 with a ReLU between them (Vaswani et al. 2017, section 3.3).

    The paper's other description of what `relu` computes; it may be faster where convolutions are.
    """

    def forward(self, x: Tensor) -> Tensor:
        """From [B, T, D] to [B, T, D]."""
        return super().forward(x.mT).mT

    def linear(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """A convolution that sees one position at a time, of [B, inputs, T]."""
        return nn.Conv1d(inputs, outputs, 1, bias=bias)


class Gated(FeedForward):
    """Two linear maps, the inner one multiplied by a gate (Shazeer 2020).

    Args:
        activation: of the gate: silu makes a SwiGLU, gelu a GEGLU
        width: of the inner layer; 8/3 of d_model when left out, which costs as much as an ungated 4 d_model
        dropout: share of the inner layer dropped in training
        bias: whether the maps add a bias
    """

    def __init__(
        self,
        d_model: int,
        *,
        activation: Literal["silu", "gelu"] = "silu",
        width: Annotated[int, Gt(0)] | None = None,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__(d_model)
        width = width or 8 * d_model // 3
        self.activate: Callable[[Tensor], Tensor] = F.silu if activation == "silu" else F.gelu
        self.gate = nn.Linear(d_model, width, bias)
        self.inner = nn.Linear(d_model, width, bias)
        self.outer = nn.Linear(width, d_model, bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """From [B, T, D] to [B, T, D]."""
        return self.outer(self.dropout(self.activate(self.gate(x)) * self.inner(x)))
