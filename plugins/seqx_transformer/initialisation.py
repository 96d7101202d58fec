"""First values of a stack's weights."""

from abc import ABC, abstractmethod
from typing import Annotated

from annotated_types import Gt
from torch import nn


class Initialisation(ABC):
    """Sets the first values of a stack of layers; norms and embeddings have their own."""

    @abstractmethod
    def __call__(self, layers: nn.Module) -> None:
        """Change every linear map among `layers` in place."""


class Xavier(Initialisation):
    """Uniform weights that keep the variance of what passes through, zero biases (Glorot and Bengio 2010).

    What tensor2tensor trained the Transformer with; base with 6 + 6 post-norm layers needs warm-up with it.

    Args:
        gain: factor of all weights; less than 1 makes deeper post-norm stacks easier to start
    """

    def __init__(self, *, gain: Annotated[float, Gt(0)] = 1.0) -> None:
        self.gain = gain

    def __call__(self, layers: nn.Module) -> None:
        """Change every linear map among `layers` in place."""
        for module in layers.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                nn.init.xavier_uniform_(module.weight, self.gain)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class Normal(Initialisation):
    """Normal weights of one standard deviation, zero biases (Radford et al. 2018).

    Args:
        std: the standard deviation
    """

    def __init__(self, *, std: Annotated[float, Gt(0)] = 0.02) -> None:
        self.std = std

    def __call__(self, layers: nn.Module) -> None:
        """Change every linear map among `layers` in place."""
        for module in layers.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                nn.init.normal_(module.weight, std=self.std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
