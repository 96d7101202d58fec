"""The state of a trial, which is read from its run folder: nothing else is stored."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import seqx
from seqx_runs.comparison import compare_runs
from seqx_runs.sweep_trials import Trial


@dataclass(frozen=True, kw_only=True)
class TrialState:
    """The state of a trial.

    Args:
        started: it has a run folder
        row: the data of the run, as `seqx compare --json` prints it; None: not started, or unreadable
        problem: the reason why the folder cannot be read
    """

    started: bool
    row: Mapping[str, Any] | None = None
    problem: str | None = None

    @property
    def finished(self) -> bool:
        """True if the run has its final scores."""
        return self.row is not None and bool(self.row["finished"])

    @property
    def failure(self) -> str | None:
        """The error that ended the run; None if it is finished, was stopped, or still runs."""
        failed = None if self.row is None else self.row["failed"]
        return self.problem or (failed if failed and failed.startswith("failed") else None)

    @classmethod
    def read(cls, trial: Trial) -> "TrialState":
        """Read the run folder of a trial."""
        if not (trial.folder / "recipe.yaml").is_file():
            return cls(started=False)
        try:
            return cls(started=True, row=compare_runs([trial.folder])[0])
        except seqx.UserError as error:
            return cls(started=True, problem=str(error))


@dataclass(frozen=True, kw_only=True)
class DevScore:
    """The first score of a validation, by which configurations are ranked."""

    rank: float  # larger is better, see `seqx.Score.rank`
    is_worst: bool  # such as BLEU 0.00 at the beginning of training; then perplexity is compared
    perplexity: float


def dev_score(folder: Path, step: int) -> DevScore | None:
    """Return the score of the first validation at update `step` or later; None before it."""
    for evaluation in seqx.MetricsFile(folder).read().evaluations:
        if evaluation.split == "dev" and evaluation.step >= step:
            perplexity = math.inf if evaluation.perplexity is None else evaluation.perplexity
            score = next(iter(evaluation.scores.values()), seqx.Score(value=0.0, signature=""))
            return DevScore(rank=score.rank, is_worst=score.is_worst, perplexity=perplexity)
    return None


def rank_key(scores: Sequence[DevScore | None]) -> tuple[bool, bool, float]:
    """Return a sort key of the mean score of trials, larger for better trials; None: the trial has no score.

    If all scores have their worst value, the key is the perplexity.
    """
    known = [score for score in scores if score is not None]
    if not known:
        return False, False, 0.0
    if all(score.is_worst for score in known):
        return True, False, -fmean(score.perplexity for score in known)
    return True, True, fmean(score.rank for score in known)
