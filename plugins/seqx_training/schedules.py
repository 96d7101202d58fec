"""How the learning rate goes."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

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

    def __call__(self, step: int) -> float:
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

    def __call__(self, step: int) -> float:
        """The learning rate of update `step`."""
        return self.rate * min(step / self.warmup, 1.0)
