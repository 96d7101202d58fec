"""The position of a run, and the content of `checkpoint.json`."""

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

    step: _Count = 0  # number of updates that are done
    epoch: _Count = 0
    index: _Count = 0  # number of updates that are done in this epoch
    tokens: _Count = 0  # target tokens trained on
    seconds: _Seconds = 0.0  # of training, over all restarts
    best: float | None = None  # best value of the task's first score on the development set
    best_step: _Count = 0
    stale: _Count = 0  # validations since the best value of the score that `patience` monitors
    waits_for: str | None = None  # the name of that score; None: the task's first score
    leader: ValidationScore | None = None  # the best value of that score
    pending: bool = False  # stopped before the validation and the checkpoint that are due after this update


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """The content of `checkpoint.json`."""

    format: Annotated[int, Ge(1)]
    score: float | None  # the rank of `figure`; higher is better
    ranked: bool  # if false, it is only for resuming, and never averaged or selected
    progress: TrainingProgress
    figure: ValidationScore | None = None  # the score of the validation after this update
    made_from: Identity | None = None  # None in checkpoints of earlier versions of seqx
