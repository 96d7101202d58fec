"""How the learning rate goes."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

import seqx


@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot(seqx.Schedule):
    """Rises linearly, then falls with the square root of the step (Vaswani et al. 2017, section 5.3).

    The paper's formula, d_model^-0.5 min(step^-0.5, step warmup^-1.5), has its peak, (d_model warmup)^-0.5,
    at step `warmup`; here the peak is said outright.

    Args:
        warmup: updates until the peak
        peak: the largest learning rate
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4

    def __call__(self, step: int, steps: int) -> float:
        """The learning rate of update `step`."""
        return self.peak * min(step / self.warmup, (self.warmup / step) ** 0.5)


@dataclass(frozen=True, kw_only=True)
class Constant(seqx.Schedule):
    """The same learning rate always, after a linear rise.

    Args:
        rate: the learning rate
        warmup: updates until it is reached; 1: at once
    """

    rate: Annotated[float, Gt(0)] = 3e-4
    warmup: Annotated[int, Gt(0)] = 1

    def __call__(self, step: int, steps: int) -> float:
        """The learning rate of update `step`."""
        return self.rate * min(step / self.warmup, 1.0)


@dataclass(frozen=True, kw_only=True)
class CosineDecay(seqx.Schedule):
    """Rises linearly, then falls along half a cosine (Loshchilov and Hutter 2017, section 3).

    One period of arXiv:1608.03983, without restarts: the fall begins at step `warmup` and would be
    over one update after the last.

    Args:
        warmup: updates until the peak
        peak: the largest learning rate
        floor: where the fall ends, as a share of the peak
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4
    floor: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """The learning rate of update `step` of `steps`."""
        if step <= self.warmup:
            return self.peak * step / self.warmup
        left = (1 + math.cos(math.pi * _over(step, self.warmup, steps))) / 2
        return self.peak * (self.floor + (1 - self.floor) * left)


@dataclass(frozen=True, kw_only=True)
class LinearDecay(seqx.Schedule):
    """Rises linearly, then falls linearly (Devlin et al. 2019; Defazio et al. 2023, arXiv:2310.07831).

    The fall begins at step `warmup` and would be over one update after the last.

    Args:
        warmup: updates until the peak
        peak: the largest learning rate
        floor: where the fall ends, as a share of the peak
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4
    floor: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """The learning rate of update `step` of `steps`."""
        if step <= self.warmup:
            return self.peak * step / self.warmup
        return self.peak * (1 - (1 - self.floor) * _over(step, self.warmup, steps))


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(seqx.Schedule):
    """Rises linearly, stays, and falls at the end (WSD; Hu et al. 2024, arXiv:2404.06395).

    The fall would be over one update after the last. A run may be made longer as long as its fall has not
    begun. Hägele et al. 2024 (arXiv:2405.18392) found one minus the square root better than a linear fall.

    Args:
        warmup: updates until the peak
        peak: the largest learning rate
        decay: share of all updates in which it falls
        shape: of the fall: linear, or sqrt for one minus the square root of the share of it that is over
        floor: where the fall ends, as a share of the peak
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4
    decay: Annotated[float, Gt(0), Le(1)] = 0.2
    shape: Literal["linear", "sqrt"] = "sqrt"
    floor: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """The learning rate of update `step` of `steps`."""
        risen = min(step / self.warmup, 1.0)
        last = steps - round(self.decay * steps)  # of the updates before the fall
        over = _over(step, last, steps)
        fallen = over if self.shape == "linear" else math.sqrt(over)
        return self.peak * risen * (1 - (1 - self.floor) * fallen)


def _over(step: int, before: int, steps: int) -> float:
    """The share of a fall after update `before` that is over at `step`: 1 one update after the last."""
    return max(0, step - before) / (steps + 1 - before)
