from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

import seqx


@dataclass(frozen=True, kw_only=True)
class Newcomer(seqx.Schedule):
    """A learning rate that is halved at regular intervals.

    Args:
        initial: initial learning rate
        interval: number of updates between two halvings
        minimum: lowest learning rate
    """

    initial: Annotated[float, Gt(0)] = 1e-3
    interval: Annotated[int, Gt(0)] = 10_000
    minimum: Annotated[float, Gt(0)] = 1e-6

    def __call__(self, step: int, steps: int) -> float:
        return max(self.initial * 0.5 ** (step // self.interval), self.minimum)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Schedule, newcomer=Newcomer)
