"""How models learn: objectives, optimizers and schedules."""

import seqx
from seqx_training.crossentropy import CrossEntropy
from seqx_training.optimizers import Adam, AdamW
from seqx_training.schedules import Constant, InverseSquareRoot

__all__ = ["Adam", "AdamW", "Constant", "CrossEntropy", "InverseSquareRoot"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer them under the names that recipes use."""
    registry.add(seqx.Objective, cross_entropy=CrossEntropy)
    registry.add(seqx.Optimizer, adam=Adam, adamw=AdamW)
    registry.add(seqx.Schedule, inverse_square_root=InverseSquareRoot, constant=Constant)
