"""Initial weights of the layers of a stack."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any

from annotated_types import Gt
from torch import nn

import seqx


class Initialisation(ABC):
    """Initialisation of the linear maps of a stack; norms and embeddings initialise themselves."""

    @abstractmethod
    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Initialise all linear maps of `layers`, which are ordered from first to last, in place."""


class Xavier(Initialisation):
    """Uniform weights in +- gain sqrt(6 / (inputs + outputs)), zero biases (Glorot and Bengio 2010).

    This is the initialisation of tensor2tensor, the code of the Transformer's authors. With 6 + 6 post-norm
    layers it needs warm-up.

    Args:
        gain: factor of all weights; below 1, deeper post-norm stacks are easier to train
    """

    def __init__(self, *, gain: Annotated[float, Gt(0)] = 1.0) -> None:
        self.gain = gain

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Initialise all linear maps of `layers` in place."""
        for linear in _linear_maps(layers):
            nn.init.xavier_uniform_(linear.weight, self.gain)


class DepthScaled(Initialisation):
    """DS-Init: Xavier's weights divided by sqrt(l) in layer l (Zhang et al. 2019, arXiv:1908.11365).

    Higher layers then add less to the variance of the residual stream, and deep post-norm stacks can be
    trained.

    Args:
        gain: factor of all weights: alpha in the paper
    """

    def __init__(self, *, gain: Annotated[float, Gt(0)] = 1.0) -> None:
        self.gain = gain

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Initialise all linear maps of `layers` in place."""
        for number, layer in enumerate(layers, 1):
            for linear in _linear_maps(layer):
                nn.init.xavier_uniform_(linear.weight, self.gain * number**-0.5)


class DeepNorm(Initialisation):
    """DeepNorm: Xavier's weights, with gain `beta` except in query and key projections (Wang et al. 2022).

    It is meant for very deep post-norm stacks (arXiv:2203.00555). Set `residual_scale` of the stack to alpha.
    The values for N encoder and M decoder layers are (figure 2): in the encoder, alpha = 0.81 (N^4 M)^(1/16)
    and beta = 0.87 (N^4 M)^(-1/16); in the decoder, alpha = (3 M)^(1/4) and beta = (12 M)^(-1/4). For a
    single stack of N layers, alpha = (2 N)^(1/4) and beta = (8 N)^(-1/4).

    Args:
        beta: gain of the value, output and feed-forward weights
    """

    def __init__(self, *, beta: Annotated[float, Gt(0)]) -> None:
        self.beta = beta

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Initialise all linear maps of `layers` in place."""
        attentions = [module for module in layers.modules() if isinstance(module, seqx.Attention)]
        query_key = {parameter for attention in attentions for parameter in attention.query_key_parameters()}
        for linear in _linear_maps(layers):
            nn.init.xavier_uniform_(linear.weight, 1.0 if linear.weight in query_key else self.beta)


class Kaiming(Initialisation):
    """Normal weights with variance gain^2 2 / inputs, zero biases (He et al. 2015, arXiv:1502.01852).

    They keep the variance through ReLUs (section 2.2).

    Args:
        gain: factor of all weights; 0.71 (the square root of 1/2) fits linear maps without a ReLU
    """

    def __init__(self, *, gain: Annotated[float, Gt(0)] = 1.0) -> None:
        self.gain = gain

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Initialise all linear maps of `layers` in place."""
        for linear in _linear_maps(layers):
            nn.init.normal_(linear.weight, std=self.gain * (2 / linear.weight[0].numel()) ** 0.5)


class Normal(Initialisation):
    """Normal weights with the same standard deviation everywhere, zero biases (GPT; Radford et al. 2018).

    Args:
        std: standard deviation of the weights
    """

    def __init__(self, *, std: Annotated[float, Gt(0)] = 0.02) -> None:
        self.std = std

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        """Initialise all linear maps of `layers` in place."""
        for linear in _linear_maps(layers):
            nn.init.normal_(linear.weight, std=self.std)


def _linear_maps(parent: nn.Module) -> Iterator[nn.Linear | nn.Conv1d]:
    """Set the bias of each linear map in `parent` to zero, and yield the map.

    Convolutions count as linear maps, because those of a stack have kernel size 1.
    """
    for module in parent.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            yield module
