"""The description of a run that callbacks receive."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from seqx.data.store import Store
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.training.config import Training


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run since its last start: since it began, was resumed, or was rolled back.

    `len(run.store)` is the number of training examples. `store.dropped` has the numbers of dropped rows, and
    `store.leaks` those of training rows that also occur in dev and test.
    """

    name: str  # of the recipe, with its profile
    folder: Path  # the run folder, in which a callback may write files
    training: Training  # the settings of `training`, such as `run.training.steps`
    done: int  # updates made before this start
    parameters: int  # number of parameters of the model
    device: str  # of this process, such as cuda:0
    precision: Literal["bf16", "fp32"]  # of matrix products
    store: Store  # the training examples
    updates: int  # per epoch
    processes: int = 1  # the ranks that share each update, with a device each
    best: float | None = None  # the best score on the development set before this start
    best_step: int = 0  # the update with that score
    resumed: Path | None = None  # the checkpoint that this start continues from
    pending: bool = False  # true if this start begins with a validation that was interrupted

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
