"""A learning rate that falls like a cosine."""

import math
from dataclasses import dataclass
from typing import Annotated

import seqx
from annotated_types import Gt


@dataclass(frozen=True, kw_only=True)
class Newcomer(seqx.Schedule):
    """Rises linearly, then falls as half a period of a cosine does (Loshchilov and Hutter 2017, section 3).

    Args:
        steps: updates until the lowest rate, which stays
        warmup: updates until the peak
        peak: the largest learning rate
        least: the lowest one

    Raises:
        ValueError: when warmup does not end before steps, or least is above peak
    """

    steps: Annotated[int, Gt(0)] = 100_000
    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4
    least: Annotated[float, Gt(0)] = 1e-6

    def __post_init__(self) -> None:
        """Refuse settings at odds."""
        if self.warmup >= self.steps:
            raise ValueError(f"warmup ({self.warmup}) must end before steps ({self.steps})")
        if self.least > self.peak:
            raise ValueError(f"least ({self.least}) is above peak ({self.peak})")

    def __call__(self, step: int) -> float:
        """The learning rate of update `step`, counted from 1."""
        if step < self.warmup:
            return self.peak * step / self.warmup
        share = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        return self.least + (self.peak - self.least) * (1 + math.cos(math.pi * share)) / 2


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer it to recipes."""
    registry.add(seqx.Schedule, newcomer=Newcomer)
