"""LoRA: fine-tuning with low-rank changes of the weights (Hu et al. 2021, arXiv:2106.09685).

Letters in shapes: O outputs and I inputs of a matrix, R the rank.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar

import seqx
import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

__all__ = ["LoRA", "LowRank"]


@dataclass(frozen=True, kw_only=True)
class LoRA(seqx.Optimizer):
    """Adam on low-rank factors: a matrix W becomes W + (alpha / rank) B A (Hu et al. 2021, section 4.1).

    The state of the optimizer holds A and B, and the model holds the sum. So the model keeps its shape: it is
    saved, decoded and exported like any other. Vectors that match `targets` are trained by plain Adam. All
    other parameters keep their values; freeze them, too, so that no gradients are computed for them.

    Args:
        targets: patterns for the names of the trained parameters, in which * stands for any text
        rank: the rank of the changes
        alpha: the factor of the changes, times the rank
        betas: Adam's decay of the moving averages of the gradient and of its square
        eps: term added to the square root of the second average
    """

    shards: ClassVar[bool] = False  # the gradients of A and B need whole matrices

    targets: tuple[str, ...] = ("*.query.weight", "*.value.weight")
    rank: Annotated[int, Gt(0)] = 8
    alpha: Annotated[float, Gt(0)] = 16.0
    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.98)
    eps: Annotated[float, Gt(0)] = 1e-9

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer for the parameters that match `targets`."""
        trained = [
            parameter
            for name, parameter in module.named_parameters()
            if any(fnmatchcase(name, target) for target in self.targets)
        ]
        if not trained:
            targets = ", ".join(self.targets)
            raise seqx.UserError(
                f"training.optimizer.targets: no parameter of the model matches {targets}; name some of its "
                "parameters, such as *.query.weight"
            )
        return LowRank(trained, rank=self.rank, scale=self.alpha / self.rank, betas=self.betas, eps=self.eps)


class LowRank(torch.optim.Optimizer):
    """Adam on the factors B [O, R] and A [R, I] of the change of each matrix [O, I]; B is 0 at first.

    The gradients of the factors follow from the gradient G of the matrix: G A' for B, and B' G for A.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        *,
        rank: int,
        scale: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        defaults = {"lr": 0.0, "rank": rank, "scale": scale, "betas": betas, "eps": eps}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        del closure
        for group in self.param_groups:
            for number, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group, seed=number)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], *, seed: int) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            if parameter.dim() > 1:
                state["up"], state["down"] = _factors(parameter.flatten(1), group["rank"], seed)
        state["step"] += 1
        if parameter.dim() <= 1:
            parameter.add_(_adam(state, "vector", gradient, group))
            return
        up, down, gradient = state["up"], state["down"], group["scale"] * gradient.flatten(1)
        before = up @ down
        changes = _adam(state, "up", gradient @ down.T, group), _adam(state, "down", up.T @ gradient, group)
        up += changes[0]
        down += changes[1]
        parameter.add_((up @ down - before).view_as(parameter), alpha=group["scale"])


def _factors(matrix: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return B, which is 0, and A with normal values of variance 1 / I."""
    outputs, inputs = matrix.shape
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, inputs, generator=generator) * inputs**-0.5
    return matrix.new_zeros(outputs, rank), down.to(matrix)


def _adam(state: dict[str, Tensor], name: str, gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """Update the moving averages `name` of a gradient; return Adam's change."""
    mean = state.setdefault(f"{name}_mean", torch.zeros_like(gradient))
    square = state.setdefault(f"{name}_square", torch.zeros_like(gradient))
    beta1, beta2 = group["betas"]
    mean.lerp_(gradient, 1 - beta1)
    square.lerp_(gradient.square(), 1 - beta2)
    root = (square / (1 - beta2 ** state["step"])).sqrt() + group["eps"]
    change: Tensor = -group["lr"] * (mean / (1 - beta1 ** state["step"])) / root
    return change


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the optimizer."""
    registry.add(seqx.Optimizer, lora=LoRA)
