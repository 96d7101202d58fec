"""Feed-forward networks, which act on each position alone.

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
    """The feed-forward sub-layer of a Transformer layer."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]; an output depends on the input at its own position only."""


class ReLU(FeedForward):
    """W2 max(0, W1 x + b1) + b2 (Vaswani et al. 2017, section 3.3).

    Args:
        width: width of the hidden layer, d_ff; 4 d_model if left out
        dropout: dropout probability of the hidden layer
        bias: add a bias in both linear maps
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
        """Map [B, T, D] to [B, T, D]."""
        return self.outer(self.dropout(self.activate(self.inner(x))))

    def linear(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """Build one of the two linear maps."""
        return nn.Linear(inputs, outputs, bias)

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation function."""
        return F.relu(x)


class GELU(ReLU):
    """W2 GELU(W1 x + b1) + b2 (Hendrycks and Gimpel 2016)."""

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation function."""
        return F.gelu(x)


class Convolutions(ReLU):
    """Two convolutions with kernel size 1 and a ReLU between them (Vaswani et al. 2017, section 3.3).

    The paper's other description of the same function as `relu`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return super().forward(x.mT).mT

    def linear(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """Build one of the two convolutions, which map [B, inputs, T] to [B, outputs, T]."""
        return nn.Conv1d(inputs, outputs, 1, bias=bias)


class Gated(FeedForward):
    """W2 (f(Wg x) * W1 x), a gated linear unit (Shazeer 2020, equation 6).

    Args:
        activation: f of the gate: silu for SwiGLU, gelu for GEGLU
        width: width of the hidden layer; 8/3 d_model if left out, which has as many parameters as `relu`
        dropout: dropout probability of the hidden layer
        bias: add a bias in the linear maps
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
        """Map [B, T, D] to [B, T, D]."""
        return self.outer(self.dropout(self.activate(self.gate(x)) * self.inner(x)))
