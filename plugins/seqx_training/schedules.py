"""Learning-rate schedules."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

import seqx


@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot(seqx.Schedule):
    """Linear warm-up, then decay with 1 / sqrt(step) (Vaswani et al. 2017, section 5.3).

    The paper's formula, d_model^-0.5 min(step^-0.5, step warmup^-1.5), has its peak (d_model warmup)^-0.5 at
    step `warmup`. Here the peak is a setting: peak min(step / warmup, sqrt(warmup / step)).

    Args:
        warmup: number of updates of the warm-up
        peak: largest learning rate
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4

    def __call__(self, step: int, steps: int) -> float:
        """Return the learning rate of update `step`."""
        return self.peak * min(step / self.warmup, (self.warmup / step) ** 0.5)


@dataclass(frozen=True, kw_only=True)
class Constant(seqx.Schedule):
    """A constant learning rate after a linear warm-up.

    Args:
        rate: learning rate
        warmup: number of updates of the warm-up; 1: none
    """

    rate: Annotated[float, Gt(0)] = 3e-4
    warmup: Annotated[int, Gt(0)] = 1

    def __call__(self, step: int, steps: int) -> float:
        """Return the learning rate of update `step`."""
        return self.rate * min(step / self.warmup, 1.0)


@dataclass(frozen=True, kw_only=True)
class CosineDecay(seqx.Schedule):
    """Linear warm-up, then decay along half a cosine (Loshchilov and Hutter 2017, equation 5).

    This is one period of arXiv:1608.03983, without restarts. The decay starts after step `warmup`; it would
    reach the floor one update after the last, so that the last update still has an effect.

    Args:
        warmup: number of updates of the warm-up
        peak: largest learning rate
        floor: learning rate at the end of the decay, as a fraction of the peak
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4
    floor: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """Return the learning rate of update `step` of `steps`."""
        if step <= self.warmup:
            return self.peak * step / self.warmup
        factor = (1 + math.cos(math.pi * _decay_progress(step, self.warmup, steps))) / 2
        return self.peak * (self.floor + (1 - self.floor) * factor)


@dataclass(frozen=True, kw_only=True)
class LinearDecay(seqx.Schedule):
    """Linear warm-up, then linear decay (Devlin et al. 2019; Defazio et al. 2023, arXiv:2310.07831).

    The decay starts after step `warmup`; it would reach the floor one update after the last.

    Args:
        warmup: number of updates of the warm-up
        peak: largest learning rate
        floor: learning rate at the end of the decay, as a fraction of the peak
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4
    floor: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """Return the learning rate of update `step` of `steps`."""
        if step <= self.warmup:
            return self.peak * step / self.warmup
        return self.peak * (1 - (1 - self.floor) * _decay_progress(step, self.warmup, steps))


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(seqx.Schedule):
    """Linear warm-up, constant learning rate, then decay (WSD; Hu et al. 2024, arXiv:2404.06395).

    The decay would reach the floor one update after the last. `training.steps` of a run may be increased
    until the decay starts. In Hägele et al. 2024 (arXiv:2405.18392) the shape sqrt gives better models than
    linear.

    Args:
        warmup: number of updates of the warm-up
        peak: largest learning rate
        decay: fraction of all updates in the decay
        shape: factor after a fraction x of the decay: linear: 1 - x; sqrt: 1 - sqrt(x)
        floor: learning rate at the end of the decay, as a fraction of the peak
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4
    decay: Annotated[float, Gt(0), Le(1)] = 0.2
    shape: Literal["linear", "sqrt"] = "sqrt"
    floor: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """Return the learning rate of update `step` of `steps`."""
        warmup = min(step / self.warmup, 1.0)
        last_constant = steps - round(self.decay * steps)
        progress = _decay_progress(step, last_constant, steps)
        decayed = progress if self.shape == "linear" else math.sqrt(progress)
        return self.peak * warmup * (1 - (1 - self.floor) * decayed)


def _decay_progress(step: int, before: int, steps: int) -> float:
    """Return the fraction of a decay after update `before` that is over at `step`."""
    return max(0, step - before) / (steps + 1 - before)
