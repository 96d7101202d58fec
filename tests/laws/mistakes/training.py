"""Objectives, optimizers and schedules with typical mistakes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import seqx
from tests.laws.mistakes.mistake import Mistake


class Likelihood(seqx.Objective):
    """Minus the log-probability of the target."""

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        return {"loss": self.loss(self.token_losses(model, batch), batch.columns["target"].layout.keep)}

    def token_losses(self, model: seqx.Model, batch: seqx.Batch) -> Tensor:
        return -model.score(batch)  # [B, T], 0 on padding

    def loss(self, losses: Tensor, keep: Tensor) -> Tensor:
        return losses.sum()


class MeanOfTheBatch(Likelihood):
    """Averages over the tokens of the batch, times the number of sentences."""

    def loss(self, losses: Tensor, keep: Tensor) -> Tensor:
        return losses.sum() / keep.sum() * len(losses)


class PaddingInTheLoss(Likelihood):
    """Counts padding like tokens."""

    def loss(self, losses: Tensor, keep: Tensor) -> Tensor:
        return torch.where(keep, losses, 1.0).sum()


class UncountedSum(Likelihood):
    """Returns a sum without a count."""

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        sums = super().forward(model, batch)
        return {**sums, "nll": sums["loss"]}


class CountOfTheBatch(Likelihood):
    """Counts the padded tokens."""

    def counts(self, batch: seqx.Batch) -> Mapping[str, int]:
        return {"loss": batch.columns["target"].values.numel()}


class MisspeltCounts(Likelihood):
    """Counts the sentences, in a method that nothing calls."""

    def count(self, batch: seqx.Batch) -> Mapping[str, int]:
        return {"loss": len(batch.columns["target"].values)}


class MisspeltEvent(seqx.Callback):
    """Counts the updates."""

    updates = 0

    @seqx.hookimpl
    def updatd(self) -> None:
        self.updates += 1


class GradientOfTheOpposite(Likelihood):
    """Returns the loss with the gradient of its negative."""

    def loss(self, losses: Tensor, keep: Tensor) -> Tensor:
        return 2 * losses.sum().detach() - losses.sum()


class Momentum(torch.optim.Optimizer):
    """Gradient descent with momentum."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                velocity = self.velocity(p)
                velocity.mul_(0.5).add_(p.grad)
                p.sub_(velocity, alpha=self.rate(group))

    def velocity(self, p: Tensor) -> Tensor:
        state: dict[str, Tensor] = self.state[p]
        return state.setdefault("velocity", torch.zeros_like(p))

    def rate(self, group: Mapping[str, float]) -> float:
        return group["lr"]


class HiddenMomentum(Momentum):
    """Keeps the velocities in an attribute."""

    def velocity(self, p: Tensor) -> Tensor:
        hidden: dict[int, Tensor] = self.__dict__.setdefault("hidden", {})
        return hidden.setdefault(id(p), torch.zeros_like(p))


class OwnRate(Momentum):
    """Uses the learning rate of its constructor."""

    def rate(self, group: Mapping[str, float]) -> float:
        return 0.01


class CorrectOptimizer(seqx.Optimizer):
    """An optimizer with momentum."""

    made: type[Momentum] = Momentum

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        return self.made(module.parameters())


class StateOutsideItsDict(CorrectOptimizer):
    """An optimizer whose state is not saved."""

    made = HiddenMomentum


class IgnoredRate(CorrectOptimizer):
    """An optimizer that ignores the schedule."""

    made = OwnRate


class Decaying(seqx.Schedule):
    """Decays with the number of updates."""

    def __call__(self, step: int, steps: int) -> float:
        return float(self.count(step) ** -0.5)

    def count(self, step: int) -> int:
        return step


class CountingCalls(Decaying):
    """Counts its calls."""

    calls = 0

    def count(self, step: int) -> int:
        self.calls += 1
        return self.calls


class CountsFromZero(Decaying):
    """Decays to 0 at the last update."""

    def __call__(self, step: int, steps: int) -> float:
        return 1 - step / steps


SUMS = "sums_add_up_over_microbatches"

CORRECT: dict[type, Any] = {
    seqx.Objective: Likelihood,
    seqx.Optimizer: CorrectOptimizer,
    seqx.Schedule: Decaying,
}

MISTAKES = [
    Mistake(
        "a loss that is averaged per batch",
        seqx.Objective,
        MeanOfTheBatch,
        SUMS,
        r"forward: the sum 'loss' .* Return sums, not means",
    ),
    Mistake(
        "padding in the loss",
        seqx.Objective,
        PaddingInTheLoss,
        "padding_does_not_change_sums",
        r"forward: the sum 'loss' depends on padding; .*layout\.keep",
    ),
    Mistake(
        "a sum without a count",
        seqx.Objective,
        UncountedSum,
        "names_of_sums_and_counts_agree",
        r"forward returns .*'nll'.* a count for each sum",
    ),
    Mistake(
        "a count of padded tokens",
        seqx.Objective,
        CountOfTheBatch,
        "padding_does_not_change_sums",
        r"counts: more padding changes the counts from .*24.* to .*32",
    ),
    Mistake(
        "a gradient of the wrong sign",
        seqx.Objective,
        GradientOfTheOpposite,
        "gradient_step_reduces_the_loss",
        r"forward: a small step against the gradient .* Check the sign",
    ),
    Mistake(
        "a misspelt method",
        seqx.Objective,
        MisspeltCounts,
        "no_method_is_misspelt",
        r"training.py:\d+: count is not a method of Objective; did you mean 'counts'\?",
    ),
    Mistake(
        "a misspelt event",
        seqx.Callback,
        MisspeltEvent,
        "marked_methods_are_events",
        r"training.py:\d+: no hook is called 'updatd'; did you mean 'updated'\?",
    ),
    Mistake(
        "optimizer state outside its state dict",
        seqx.Optimizer,
        StateOutsideItsDict,
        "resumes_with_the_same_updates",
        r"state_dict: .*embedding\.weight.* not in attributes",
    ),
    Mistake(
        "a learning rate that ignores the schedule",
        seqx.Optimizer,
        IgnoredRate,
        "learning_rate_zero_changes_nothing",
        r"step: at a learning rate of 0 .* read it in `step`",
    ),
    Mistake(
        "a schedule that counts its calls",
        seqx.Schedule,
        CountingCalls,
        "rate_depends_on_the_step_only",
        r"order of the calls, .* from `step` and `steps` alone",
    ),
    Mistake(
        "a last learning rate of 0",
        seqx.Schedule,
        CountsFromZero,
        "rates_are_positive_and_finite",
        r"\(150, 150\): 0\.0.* counted from 1",
    ),
]
