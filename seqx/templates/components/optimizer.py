from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import nn

import seqx


@dataclass(frozen=True, kw_only=True)
class Newcomer(seqx.Optimizer):
    """Gradient descent with momentum (Sutskever et al. 2013).

    Args:
        momentum: decay of the running sum of gradients
    """

    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(module.parameters(), lr=0.01, momentum=self.momentum)

    def check(self, module: nn.Module) -> None:
        """Accept all parameters."""


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Optimizer, newcomer=Newcomer)
