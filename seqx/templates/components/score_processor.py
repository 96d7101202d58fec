from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

import seqx


@dataclass(frozen=True, kw_only=True)
class Newcomer(seqx.ScoreProcessor):
    """A penalty for EOS before an output has its usual length.

    Args:
        length: usual number of tokens
        penalty: penalty for each missing token
    """

    length: Annotated[int, Ge(0)] = 10
    penalty: Annotated[float, Ge(0)] = 0.5

    def __call__(self, scores: Tensor, ids: Tensor) -> Tensor:
        changed = scores.clone()
        changed[:, seqx.EOS] -= self.penalty * max(0, self.length - ids.size(1))
        return changed


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.ScoreProcessor, newcomer=Newcomer)
