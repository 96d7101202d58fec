"""Objectives, optimizers, learning-rate schedules and parallel strategies."""

import seqx
from seqx_training.cross_entropy import CrossEntropy
from seqx_training.muon import Muon
from seqx_training.optimizers import Adafactor, Adam, AdamW
from seqx_training.parallel import fsdp
from seqx_training.rdrop import RDrop
from seqx_training.schedules import Constant, CosineDecay, InverseSquareRoot, LinearDecay, WarmupStableDecay

__all__ = [
    "Adafactor",
    "Adam",
    "AdamW",
    "Constant",
    "CosineDecay",
    "CrossEntropy",
    "InverseSquareRoot",
    "LinearDecay",
    "Muon",
    "RDrop",
    "WarmupStableDecay",
    "fsdp",
]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the objectives, optimizers, schedules and parallel strategies."""
    registry.add(seqx.Objective, cross_entropy=CrossEntropy, r_drop=RDrop)
    registry.add(seqx.Optimizer, adam=Adam, adamw=AdamW, adafactor=Adafactor, muon=Muon)
    registry.add(
        seqx.Schedule,
        inverse_square_root=InverseSquareRoot,
        constant=Constant,
        cosine=CosineDecay,
        linear=LinearDecay,
        wsd=WarmupStableDecay,
    )
    registry.add(seqx.Parallelism, ddp=seqx.DDP, fsdp=fsdp)
