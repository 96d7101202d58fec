"""The layers of the Transformer, and their parts other than attention, as in Vaswani et al. 2017.

Letters in shapes: B sentences, T tokens, D = d_model.
"""

import math
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Annotated, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_transformer.specification import added_vectors, two_linear_maps

NormOrder = Literal["post", "pre"]
"""The order of norm and sub-layer: norm after the residual sum (post), or before the sub-layer (pre)."""


class Dropout(nn.Module):
    """Dropout: in training, elements are set to zero with probability p (Srivastava et al. 2014).

    The other elements are multiplied by 1 / (1 - p). On a CPU one random byte decides on each element, which
    takes a quarter of the time of `torch.nn.Dropout`. For this, p is rounded to a multiple of 1/256.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape."""
        if not self.training or self.p == 0.0:
            return x
        threshold = round(self.p * 256)
        if x.device.type != "cpu" or not 0 < threshold < 256 or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        random_words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        random_bytes = random_words.view(torch.uint8)[: x.numel()].view(x.shape)
        return x * (random_bytes >= threshold).to(x.dtype).mul_(256 / (256 - threshold))

    def extra_repr(self) -> str:
        """Return the part of `print(model)` in parentheses."""
        return f"p={self.p}"


class Norm(nn.Module, ABC):
    """Normalisation of the vector at each position.

    The output has the dtype of the input. Thus a norm does not change the dtype of the residual stream.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, T, D] over the last dimension."""

    def specification(self) -> seqx.NormSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise seqx.UnspecifiedError(type(self).__name__)


class LayerNorm(Norm):
    """Layer normalisation (Ba et al. 2016): (x - mean) / sqrt(variance + eps) * gain + bias.

    Gain and bias are learned.

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
        dtype = self.weight.dtype if x.device.type == "cpu" else x.dtype
        with without_autocast(x):
            return F.layer_norm(x, (self.d_model,), self.weight.to(dtype), self.bias.to(dtype), self.eps)

    def specification(self) -> seqx.NormSpec:
        """Return a description of the norm for exporters."""
        return seqx.NormSpec(kind="layernorm", weight=self.weight, bias=self.bias, eps=self.eps)


def without_autocast(x: Tensor) -> AbstractContextManager[torch.autocast | None]:
    """Return a context without autocast, for the kernel of a norm.

    With autocast, the output on CUDA would be float32, and with it the residual stream. Without it, the
    kernels still compute means and variances in float32, for every dtype of x.
    """
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class Residual(nn.Module):
    """The residual connection around a sub-layer, with its norm and dropout.

    Post-norm is Norm(scale x + Dropout(Sublayer(x))) (Vaswani et al. 2017, section 5.4); with a `scale` above
    1 it is DeepNorm (Wang et al. 2022, arXiv:2203.00555).

    Pre-norm is scale x + Dropout(Sublayer(Norm(x))) (Xiong et al. 2020, figure 1b).

    A layer passes `sublayer_input(x)` to the sub-layer, and then x and the sub-layer's output to `forward`.
    """

    def __init__(
        self, norm: seqx.Make[Norm], d_model: int, order: NormOrder, dropout: float, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.scale = scale
        self.norm = norm(d_model)
        self.order = order
        self.dropout = Dropout(dropout)

    def sublayer_input(self, x: Tensor) -> Tensor:
        """Return the input [B, T, D] of the sub-layer: x, or with pre-norm the norm of x."""
        return self.norm(x) if self.order == "pre" else x

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """Return the sum of x and the sub-layer's output, both [B, T, D], normalised with post-norm."""
        total = (x if self.scale == 1 else x * self.scale) + self.dropout(output)
        return total if self.order == "pre" else self.norm(total)


class FeedForward(nn.Module, ABC):
    """The feed-forward sub-layer of a Transformer layer."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]; the output at a position depends on the input at this position only."""

    def specification(self) -> seqx.FeedForwardSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise seqx.UnspecifiedError(type(self).__name__)


class TwoLayerNetwork(FeedForward):
    """Two linear maps with an activation function between them: W2 f(W1 x + b1) + b2.

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

    @abstractmethod
    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation function."""


class ReLU(TwoLayerNetwork):
    """Feed-forward network with a ReLU: W2 max(0, W1 x + b1) + b2 (Vaswani et al. 2017, section 3.3)."""

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation function."""
        return F.relu(x, inplace=not torch.is_grad_enabled())

    def specification(self) -> seqx.FeedForwardSpec:
        """Return a description of the network for exporters."""
        return two_linear_maps(self.inner, self.outer, "relu")


class Sinusoidal(seqx.PositionalEncoding):
    """Fixed sines and cosines, added to embeddings (Vaswani et al. 2017, section 3.5).

    PE(pos, 2i) = sin(pos / base^(2i / d_model)) and PE(pos, 2i + 1) = cos(pos / base^(2i / d_model)).

    Args:
        base: base of the wavelengths; the longest one is about 2 pi base

    Raises:
        ValueError: d_model is odd
    """

    def __init__(self, d_model: int, heads: int, *, base: Annotated[float, Gt(1)] = 10000.0) -> None:
        super().__init__(d_model, heads)
        if d_model % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, not {d_model}")
        self.base = base
        # Not a buffer: it would lose precision in a model that is cast to bfloat16.
        self._frequencies: Tensor | None = None  # [D / 2], on the device of the last call

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Add the encodings of `positions` [B, T] to embeddings [B, T, D]."""
        if positions.stride(1) == 0:  # a step of a search, in which all hypotheses have the same length
            positions = positions[:, :1]
        angles = positions[..., None] * self._frequencies_on(positions.device)  # [B, T or 1, D / 2]
        return x + torch.stack([angles.sin(), angles.cos()], -1).flatten(-2).to(x.dtype)

    def specification(self) -> seqx.PositionsSpec:
        """Return a description of the encoding for exporters."""
        return seqx.PositionsSpec(kind="sinusoidal", base=self.base, vectors=partial(added_vectors, self))

    def _frequencies_on(self, device: torch.device) -> Tensor:
        """Return the factors [D / 2] of the positions."""
        frequencies = self._frequencies
        if frequencies is None or frequencies.device != device:
            exponents = torch.arange(0, self.d_model, 2, device=device) / self.d_model
            frequencies = torch.exp(exponents * -math.log(self.base))
            if not torch.compiler.is_compiling():
                self._frequencies = frequencies
        return frequencies


class TransformerEncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each inside a residual connection."""

    def __init__(
        self,
        attention: seqx.Attention,
        feedforward: FeedForward,
        attention_residual: Residual,
        feedforward_residual: Residual,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feedforward = feedforward
        self.attended = attention_residual
        self.transformed = feedforward_residual

    def forward(self, x: Tensor, positioned: seqx.Positioned, mask: seqx.Mask) -> Tensor:
        """Map [B, S, D] to [B, S, D]."""
        h = self.attended.sublayer_input(x)
        h = self.attention(h, positioned, self.attention.project_self(h, positioned), mask)
        x = self.attended(x, h)
        h = self.feedforward(self.transformed.sublayer_input(x))
        return self.transformed(x, h)


class DecoderShared(NamedTuple):
    """The layout of the keys and the masks that all layers of a decoder use in one pass."""

    keys: seqx.Layout  # of all target tokens so far, the new ones included
    target_mask: seqx.Mask  # of self-attention
    source_mask: seqx.Mask  # of cross-attention


class Past(Protocol):
    """The keys and values of earlier tokens: a `KeyValue`, or a cache that is written in place."""

    def extend(self, new: seqx.KeyValue, layout: seqx.Layout) -> seqx.KeyValue:
        """Return these keys and values with those of further tokens; `layout` is that of all tokens."""
        ...


class TransformerDecoderLayer(nn.Module):
    """Causal self-attention, cross-attention and a feed-forward network, each in a residual connection."""

    def __init__(
        self,
        attention: seqx.Attention,
        cross_attention: seqx.Attention | None,
        feedforward: FeedForward,
        attention_residual: Residual,
        cross_residual: Residual | None,
        feedforward_residual: Residual,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.cross_attention = cross_attention
        self.feedforward = feedforward
        self.attended = attention_residual
        self.crossed = cross_residual
        self.transformed = feedforward_residual

    def prepare(
        self, x: Tensor, positioned: seqx.Positioned, source: seqx.KeyValue | None, shared: DecoderShared
    ) -> None:
        """Let the attentions compute the tensors that they need from the shared masks."""
        self.attention.prepare(x, positioned, shared.keys, shared.target_mask)
        if self.cross_attention is not None and source is not None:
            unordered = seqx.Positioned.unordered(positioned.layout)
            self.cross_attention.prepare(x, unordered, source.layout, shared.source_mask)

    def forward(
        self,
        x: Tensor,
        positioned: seqx.Positioned,
        past: Past | None,
        source: seqx.KeyValue | None,
        shared: DecoderShared,
    ) -> tuple[Tensor, seqx.KeyValue]:
        """Map [B, T, D] to [B, T, D]; also return `past` with the keys and values of these T tokens added."""
        h = self.attended.sublayer_input(x)
        new = self.attention.project_self(h, positioned)
        if past is not None:
            new = past.extend(new, shared.keys)
        x = self.attended(x, self.attention(h, positioned, new, shared.target_mask))
        if self.cross_attention is not None and self.crossed is not None and source is not None:
            unordered = seqx.Positioned.unordered(positioned.layout)
            h = self.cross_attention(self.crossed.sublayer_input(x), unordered, source, shared.source_mask)
            x = self.crossed(x, h)
        h = self.feedforward(self.transformed.sublayer_input(x))
        return self.transformed(x, h), new
