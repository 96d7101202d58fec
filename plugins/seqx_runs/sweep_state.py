"""The state of a trial, which is read from its run folder: nothing else is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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


def dev_score(folder: Path, step: int) -> float | None:
    """Return the first score of the first validation at update `step` or later; None before it.

    A larger number is better: metrics for which lower values are better have the opposite sign.
    """
    for evaluation in seqx.MetricsFile(folder).read().evaluations:
        if evaluation.split == "dev" and evaluation.step >= step:
            return next((score.rank for score in evaluation.scores.values()), None)
    return None
