"""Optimizers of torch as components."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

import seqx
from seqx_training import adafactor

Betas = tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]]
"""Adam's decay of the moving averages of the gradient and of its square."""


class ForAllParameters(seqx.Optimizer):
    """An optimizer that supports all parameters."""

    def check(self, module: nn.Module) -> None:
        """Accept any module."""


@dataclass(frozen=True, kw_only=True)
class Adam(ForAllParameters):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980) with the constants of Vaswani et al. 2017, section 5.3.

    Args:
        betas: decay of the moving averages of the gradient and of its square
        eps: term added to the square root of the second average
    """

    betas: Betas = (0.9, 0.98)
    eps: Annotated[float, Gt(0)] = 1e-9

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Build torch's fused Adam for all parameters."""
        return torch.optim.Adam(module.parameters(), betas=self.betas, eps=self.eps, fused=True)


@dataclass(frozen=True, kw_only=True)
class AdamW(ForAllParameters):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Vectors (biases, gains of norms) are not decayed.

    Args:
        betas: decay of the moving averages of the gradient and of its square
        eps: term added to the square root of the second average
        decay: weight decay per update, as a multiple of the learning rate
    """

    betas: Betas = (0.9, 0.98)
    eps: Annotated[float, Gt(0)] = 1e-9
    decay: Annotated[float, Ge(0)] = 0.01

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Build torch's fused AdamW for all parameters."""
        return self.build_for(module.parameters())

    def build_for(self, parameters: Iterable[nn.Parameter]) -> torch.optim.AdamW:
        """Build torch's fused AdamW for some parameters."""
        return torch.optim.AdamW(
            parameter_groups(parameters, self.decay),
            betas=self.betas,
            eps=self.eps,
            weight_decay=0.0,
            fused=True,
        )


@dataclass(frozen=True, kw_only=True)
class Adafactor(ForAllParameters):
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235), with factored second moments.

    For each matrix it stores the means of the squared gradient over rows and over columns instead of the full
    moving average. This is torch's variant, without momentum: the learning rate is at most 1 / sqrt(step),
    and is multiplied by the root mean square of each parameter, at least 1e-3 (section 8).

    Args:
        power: the decay of the second moment at a step is 1 - step^power (section 7.2)
        clip: largest root mean square of a parameter's update, before the learning rate (section 6)
        decay: weight decay per update, as a multiple of the learning rate; vectors are not decayed
    """

    shards: ClassVar[bool] = False  # means over rows and columns need whole matrices

    power: Annotated[float, Lt(0), Ge(-1)] = -0.8
    clip: Annotated[float, Gt(0)] = 1.0
    decay: Annotated[float, Ge(0)] = 0.0

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Build Adafactor for all parameters, in a version that does not wait for the device."""
        return adafactor.SyncFreeAdafactor(
            parameter_groups(module.parameters(), self.decay), beta2_decay=self.power, d=self.clip
        )


def parameter_groups(parameters: Iterable[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Return parameter groups: matrices with weight decay, vectors without; omit an empty group."""
    all_parameters = list(parameters)
    matrices = [p for p in all_parameters if p.dim() > 1]
    vectors = [p for p in all_parameters if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
