"""The state of a trial, which is read from its run folder: nothing else is stored."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
        problem: the reason why the run cannot be read or continued
    """

    started: bool
    row: Mapping[str, Any] | None = None
    problem: str | None = None

    @property
    def finished(self) -> bool:
        """True if the run has its final scores, and the recipe of the sweep requires no more updates."""
        return self.row is not None and bool(self.row["finished"])

    @property
    def failure(self) -> str | None:
        """The error that ended the run; None if it is finished, was stopped, or still runs."""
        failed = None if self.row is None else self.row["failed"]
        return self.problem or (failed if failed and failed.startswith("failed") else None)

    @classmethod
    def read(cls, trial: Trial) -> "TrialState":
        """Read the run folder of a trial.

        Raises:
            OtherRecipeError: the folder has a run of another recipe than that of the trial
        """
        if not (trial.folder / "recipe.yaml").is_file():
            return cls(started=False)
        try:
            row = compare_runs([trial.folder])[0]
            is_finished = seqx.is_finished(trial.folder, trial.checked)  # false if it now needs more updates
        except seqx.OtherRecipeError:
            raise
        except seqx.UserError as error:
            return cls(started=True, problem=str(error))
        return cls(started=True, row={**row, "finished": is_finished})


@dataclass(frozen=True, kw_only=True)
class DevScore:
    """The first score of a validation, by which configurations are ranked."""

    rank: float  # larger is better, see `seqx.Score.rank`
    is_worst: bool  # such as BLEU 0.00 at the beginning of training; then perplexity is compared
    perplexity: float


def dev_score(folder: Path, step: int, *, is_finished: bool = False) -> DevScore | None:
    """Return the score of the first validation at update `step` or later; None before it.

    Args:
        folder: the run folder
        step: the number of updates
        is_finished: the run is finished; if it ended before `step`, its last validation is used
    """
    validations = seqx.MetricsFile(folder).read().validations
    chosen = next((each for each in validations if each.step >= step), None)
    if chosen is None and is_finished and validations:
        chosen = validations[-1]
    if chosen is None:
        return None
    perplexity = math.inf if chosen.perplexity is None else chosen.perplexity
    score = next(iter(chosen.scores.values()), seqx.Score(value=0.0, signature=""))
    return DevScore(rank=score.rank, is_worst=score.is_worst, perplexity=perplexity)


@dataclass(frozen=True, kw_only=True)
class ValidationPoll:
    """A repeated check if runs were validated at update `step`; it reads only files that have changed."""

    step: int
    _stamps: dict[Path, tuple[int, int]] = field(default_factory=dict, init=False)

    def is_validated(self, folder: Path) -> bool:
        """Return true if the metrics of a run have changed since the last call, and have the validation."""
        try:
            status = seqx.MetricsFile(folder).path.stat()
        except OSError:
            return False
        stamp = status.st_size, status.st_mtime_ns
        if self._stamps.get(folder) == stamp:
            return False
        self._stamps[folder] = stamp
        return dev_score(folder, self.step) is not None


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
