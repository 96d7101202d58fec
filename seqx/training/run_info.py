"""The description of a run that callbacks receive."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from seqx.data.store import Store
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.training.config import Training


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run since its last start: since it began, was resumed, or was rolled back."""

    name: str  # of the recipe, with its profile
    folder: Path  # the run folder
    training: Training  # the settings of `training`
    done: int  # updates made before this start
    parameters: int  # number of parameters of the model
    device: str  # of this process, such as cuda:0
    precision: Literal["bf16", "fp32"]  # of matrix products
    store: Store  # the training examples, and counts of rows that were dropped or also occur in dev and test
    updates: int  # per epoch
    processes: int = 1  # the ranks that share each update, with a device each
    best: float | None = None  # the best score on the development set before this start
    best_step: int = 0  # the update with that score
    resumed: Path | None = None  # the checkpoint that this start continues from
    pending: bool = False  # the run stopped before the validation of its last update, which is made first

    def started_at(self, progress: TrainingProgress, checkpoint: Path) -> Self:
        """Return the run with a start at the progress of a checkpoint; at step 0 there is no checkpoint."""
        return replace(
            self,
            done=progress.step,
            best=progress.best,
            best_step=progress.best_step,
            resumed=checkpoint if progress.step else None,
            pending=progress.pending,
        )
