"""A learning rate that falls as a power of what is left of a run."""

from dataclasses import dataclass
from typing import Annotated

import seqx
from annotated_types import Gt


@dataclass(frozen=True, kw_only=True)
class Newcomer(seqx.Schedule):
    """Rises linearly, then falls as a power of what is left of the run (Chen et al. 2018, section 4.1).

    Args:
        warmup: updates until the peak
        peak: the largest learning rate
        least: the lowest one
        power: 1 falls evenly, more falls sooner

    Raises:
        ValueError: when least is above peak
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4
    least: Annotated[float, Gt(0)] = 1e-6
    power: Annotated[float, Gt(0)] = 0.9

    def __post_init__(self) -> None:
        """Refuse settings at odds."""
        if self.least > self.peak:
            raise ValueError(f"least ({self.least}) is above peak ({self.peak})")

    def __call__(self, step: int, steps: int) -> float:
        """The learning rate of update `step`, counted from 1, of a run of `steps` updates."""
        if step < self.warmup:
            return self.peak * step / self.warmup
        left = (steps - step) / max(1, steps - self.warmup)
        return max(self.least, self.peak * left**self.power)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer it to recipes."""
    registry.add(seqx.Schedule, newcomer=Newcomer)
