"""Optimizers of torch, as components."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

import seqx


@dataclass(frozen=True, kw_only=True)
class Adam(seqx.Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), with the constants of Vaswani et al. 2017, section 5.3.

    Args:
        betas: decay of the averages of the gradient and of its square
        eps: added to the root of the second average
    """

    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.98)
    eps: Annotated[float, Gt(0)] = 1e-9

    def build(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """Torch's fused Adam for named parameters."""
        return torch.optim.Adam([p for _, p in parameters], betas=self.betas, eps=self.eps, fused=True)


@dataclass(frozen=True, kw_only=True)
class AdamW(seqx.Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Vectors (biases, gains of norms) are not decayed.

    Args:
        betas: decay of the averages of the gradient and of its square
        eps: added to the root of the second average
        decay: share of each weight lost in an update, times the learning rate
    """

    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.98)
    eps: Annotated[float, Gt(0)] = 1e-9
    decay: Annotated[float, Ge(0)] = 0.01

    def build(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """Torch's fused AdamW for named parameters."""
        named = list(parameters)
        matrices = [p for _, p in named if p.dim() > 1]
        vectors = [p for _, p in named if p.dim() <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.decay,
            fused=True,
        )
