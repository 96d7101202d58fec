"""First values of a stack's weights."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any

from annotated_types import Gt
from torch import nn

import seqx


class Initialisation(ABC):
    """Sets the first values of a stack of layers; norms and embeddings have their own."""

    @abstractmethod
    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Change every linear map among `layers`, which stand in their order, in place."""


class Xavier(Initialisation):
    """Uniform weights that keep the variance of what passes through, zero biases (Glorot and Bengio 2010).

    What tensor2tensor trained the Transformer with; base with 6 + 6 post-norm layers needs warm-up with it.

    Args:
        gain: factor of all weights; less than 1 makes deeper post-norm stacks easier to start
    """

    def __init__(self, *, gain: Annotated[float, Gt(0)] = 1.0) -> None:
        self.gain = gain

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Change every linear map among `layers` in place."""
        for linear in _linear_maps(layers):
            nn.init.xavier_uniform_(linear.weight, self.gain)


class DepthScaled(Initialisation):
    """Xavier's weights divided by the root of their layer's number (Zhang et al. 2019).

    DS-Init, arXiv:1908.11365: the higher a layer, the less it adds to the variance of a residual sum,
    so that deep post-norm stacks start to learn.

    Args:
        gain: factor of all weights, the paper's alpha
    """

    def __init__(self, *, gain: Annotated[float, Gt(0)] = 1.0) -> None:
        self.gain = gain

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Change every linear map among `layers` in place."""
        for number, layer in enumerate(layers, 1):
            for linear in _linear_maps(layer):
                nn.init.xavier_uniform_(linear.weight, self.gain * number**-0.5)


class DeepNorm(Initialisation):
    """Xavier's weights, but for queries and keys multiplied by `beta` (Wang et al. 2022, arXiv:2203.00555).

    For very deep post-norm stacks whose `residual` is the paper's alpha. Of N encoder and M decoder layers:
    in the encoder alpha 0.81 (N^4 M)^(1/16) and beta 0.87 (N^4 M)^(-1/16), in the decoder alpha
    (3 M)^(1/4) and beta (12 M)^(-1/4); of one stack of N layers alone: (2 N)^(1/4) and (8 N)^(-1/4).

    Args:
        beta: factor of the values', outputs' and feed-forward maps' weights
    """

    def __init__(self, *, beta: Annotated[float, Gt(0)]) -> None:
        self.beta = beta

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Change every linear map among `layers` in place."""
        attentions = [part for part in layers.modules() if isinstance(part, seqx.Attention)]
        matching = {parameter for attention in attentions for parameter in attention.query_key_parameters()}
        for linear in _linear_maps(layers):
            nn.init.xavier_uniform_(linear.weight, 1.0 if linear.weight in matching else self.beta)


class Kaiming(Initialisation):
    """Normal weights that keep the variance through rectified units, zero biases (He et al. 2015).

    arXiv:1502.01852, section 2.2: each weight's variance is 2 / inputs.

    Args:
        gain: factor of all weights; 0.71, the root of a half, fits maps that no rectifier follows
    """

    def __init__(self, *, gain: Annotated[float, Gt(0)] = 1.0) -> None:
        self.gain = gain

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Change every linear map among `layers` in place."""
        for linear in _linear_maps(layers):
            nn.init.normal_(linear.weight, std=self.gain * (2 / linear.weight[0].numel()) ** 0.5)


class Normal(Initialisation):
    """Normal weights of one standard deviation, zero biases (Radford et al. 2018).

    Args:
        std: the standard deviation
    """

    def __init__(self, *, std: Annotated[float, Gt(0)] = 0.02) -> None:
        self.std = std

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Change every linear map among `layers` in place."""
        for linear in _linear_maps(layers):
            nn.init.normal_(linear.weight, std=self.std)


def _linear_maps(part: nn.Module) -> Iterator[nn.Linear | nn.Conv1d]:
    """Each linear map of a part, convolutions of width 1 among them, its bias set to zero."""
    for module in part.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            yield module
