"""Polynomial decay of the learning rate."""

from dataclasses import dataclass
from typing import Annotated

import seqx
from annotated_types import Gt


@dataclass(frozen=True, kw_only=True)
class Newcomer(seqx.Schedule):
    """Linear warmup, then polynomial decay to the end of the run (Chen et al. 2018, section 4.1).

    Args:
        warmup: updates until the peak
        peak: maximum learning rate
        least: minimum learning rate
        power: exponent of the decay; 1: linear; above 1: the rate falls faster at first

    Raises:
        ValueError: least is above peak
    """

    warmup: Annotated[int, Gt(0)] = 4000
    peak: Annotated[float, Gt(0)] = 6.99e-4
    least: Annotated[float, Gt(0)] = 1e-6
    power: Annotated[float, Gt(0)] = 0.9

    def __post_init__(self) -> None:
        """Check that the settings are consistent."""
        if self.least > self.peak:
            raise ValueError(f"least ({self.least}) is above peak ({self.peak})")

    def __call__(self, step: int, steps: int) -> float:
        """Return the learning rate of update `step`, from 1, in a run of `steps` updates."""
        if step < self.warmup:
            return self.peak * step / self.warmup
        left = (steps - step) / max(1, steps - self.warmup)
        return max(self.least, self.peak * left**self.power)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the component under its name in recipes."""
    registry.add(seqx.Schedule, newcomer=Newcomer)
