"""The progress of a run, and the content of `checkpoint.json`."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt

from seqx.interfaces.scores import ValidationScore
from seqx.storage.identity import Identity

_Count = Annotated[int, Ge(0), Lt(1 << 63)]
_Seconds = Annotated[float, Ge(0), Lt(1 << 40)]  # finite; 2^40 s are 35,000 years


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Position and counters of a run at a checkpoint."""

    step: _Count = 0  # number of updates so far
    epoch: _Count = 0
    index: _Count = 0  # number of updates so far in this epoch
    tokens: _Count = 0  # number of target tokens so far
    seconds: _Seconds = 0.0  # of training, over all restarts
    best: float | None = None  # best value of the task's first score on the development set
    best_step: _Count = 0
    stale: _Count = 0  # validations since the best value of the score that `patience` monitors
    waits_for: str | None = None  # the score that `patience` monitors, by name; None: the task's first score
    leader: ValidationScore | None = None  # the best value of the score that `patience` monitors
    packed: bool = False  # batches have packed rows (`training.packing`); fixed when the run begins
    pending: bool = False  # the run stopped before the validation and the checkpoint due after this update


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """The content of `checkpoint.json`."""

    format: Annotated[int, Ge(1)]
    score: float | None  # the number by which checkpoints are compared, from `figure`; higher is better
    ranked: bool  # false: the checkpoint is only for resuming, and is never averaged or selected
    progress: TrainingProgress
    figure: ValidationScore | None = None  # the score of the validation after this update
    made_from: Identity | None = None  # the identity of the run; None: an earlier version of seqx wrote it

    @property
    def order(self) -> tuple[float, bool, float] | None:
        """A key that is larger for a better checkpoint; None if it was not validated."""
        if self.figure is not None:
            return self.figure.order
        return None if self.score is None else (self.score, False, 0.0)  # an earlier version wrote it
