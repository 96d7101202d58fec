"""A run, as its callbacks see it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seqx.data.store import Store
from seqx.training.config import Training


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run, from a recipe to a score."""

    name: str  # the recipe's, with its profile
    folder: Path
    training: Training
    done: int  # updates made by earlier starts
    parameters: int
    device: str
    precision: Literal["bf16", "fp32"]
    store: Store  # the training examples, and what was dropped or found in dev and test, too
    updates: int  # of one epoch
    processes: int = 1  # that share each update, with a device each
    best: float | None = None  # the best score on the development set in earlier starts
    best_step: int = 0
    resumed: Path | None = None  # the checkpoint that this start goes on from
    pending: bool = False  # it was stopped before what is due after its last update: it is validated now
