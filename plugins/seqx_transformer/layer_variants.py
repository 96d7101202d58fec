"""Variants of the norm and of the feed-forward network.

Letters in shapes: B sentences, T tokens, D = d_model.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.layers import Dropout, FeedForward, Norm, ReLU, TwoLayerNetwork, without_autocast
from seqx_transformer.specification import two_linear_maps


class RMSNorm(Norm):
    """Root mean square normalisation (Zhang and Sennrich 2019): x / sqrt(mean square + eps) * gain.

    The gain is learned.

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

    def specification(self) -> seqx.NormSpec:
        """Return a description of the norm for exporters."""
        return seqx.NormSpec(kind="rmsnorm", weight=self.weight, eps=self.eps)


class GELU(TwoLayerNetwork):
    """Feed-forward network with a GELU: W2 GELU(W1 x + b1) + b2 (Hendrycks and Gimpel 2016)."""

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation function."""
        return F.gelu(x)

    def specification(self) -> seqx.FeedForwardSpec:
        """Return a description of the network for exporters."""
        return two_linear_maps(self.inner, self.outer, "gelu")


class SiLU(TwoLayerNetwork):
    """Feed-forward network with a SiLU, also called Swish: W2 SiLU(W1 x + b1) + b2 (Elfwing et al. 2018)."""

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation function."""
        return F.silu(x)

    def specification(self) -> seqx.FeedForwardSpec:
        """Return a description of the network for exporters."""
        return two_linear_maps(self.inner, self.outer, "silu")


class Convolutions(ReLU):
    """Feed-forward network of two convolutions with kernel size 1 and a ReLU between them.

    It computes the same function as `relu`; Vaswani et al. 2017, section 3.3, describe it in both ways.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return super().forward(x.mT).mT

    def linear(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """Build one of the two convolutions, which map [B, inputs, T] to [B, outputs, T]."""
        return nn.Conv1d(inputs, outputs, 1, bias=bias)

    def specification(self) -> seqx.FeedForwardSpec:
        """Return a description of the network for exporters, with linear maps."""
        return two_linear_maps(self.inner, self.outer, "relu")


class Gated(FeedForward):
    """Feed-forward network with a gated linear unit: W2 (f(Wg x) * W1 x) (Shazeer 2020, equation 6).

    Args:
        activation: f of the gate: silu for SwiGLU, gelu for GEGLU
        width: width of the hidden layer; 8/3 d_model if left out, which gives as many parameters as `relu`
            with its default width
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
        self.activation = activation
        self.activate: Callable[[Tensor], Tensor] = F.silu if activation == "silu" else F.gelu
        self.gate = nn.Linear(d_model, width, bias)
        self.inner = nn.Linear(d_model, width, bias)
        self.outer = nn.Linear(width, d_model, bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return self.outer(self.dropout(self.activate(self.gate(x)) * self.inner(x)))

    def specification(self) -> seqx.FeedForwardSpec:
        """Return a description of the network for exporters."""
        gate, inner, outer = map(seqx.LinearSpec.of, (self.gate, self.inner, self.outer))
        return seqx.FeedForwardSpec(activation=self.activation, gate=gate, inner=inner, outer=outer)
