"""The progress of a run, early stopping, and the reasons to interrupt training."""

import signal
import time
from collections.abc import Sequence
from dataclasses import replace

from seqx.interfaces.scores import Score, ValidationScore
from seqx.parallel.parallelism import Parallelism
from seqx.runtime.signals import Stopped, StopRequest
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.training.config import Patience
from seqx.training.update import Update


class ProgressTracker:
    """The progress of a run. All parts of training share this object, and only its methods change it.

    Args:
        progress: the progress of the checkpoint that training starts from
    """

    def __init__(self, progress: TrainingProgress | None = None) -> None:
        self._now = progress or TrainingProgress()

    @property
    def now(self) -> TrainingProgress:
        """The progress after the last update."""
        return self._now

    @property
    def step(self) -> int:
        """The number of updates made."""
        return self._now.step

    def restore(self, progress: TrainingProgress) -> None:
        """Continue from the progress of a checkpoint."""
        self._now = progress

    def add_update(self, update: Update, *, seconds: float) -> None:
        """Count an update; `seconds` is the training time so far, over all starts."""
        self._now = replace(
            self._now,
            step=update.step,
            epoch=update.then.epoch,
            index=update.then.index,
            tokens=self._now.tokens + update.tokens,
            seconds=seconds,
        )

    def add_validation(self, score: Score, patience_score: ValidationScore, patience_by: str | None) -> None:
        """Record a validation.

        Args:
            score: the task's first score
            patience_score: the score that `training.patience` compares
            patience_by: the name of that score in the recipe; None: the task's first score
        """
        if self._now.best is None or score.beats(self._now.best):
            self._now = replace(self._now, best=score.value, best_step=self._now.step)
        self._now = validated(self._now, patience_score, patience_by)

    def set_pending(self, *, pending: bool) -> None:
        """Record whether the validation and the checkpoint of the last update are still missing."""
        self._now = replace(self._now, pending=pending)


def validated(
    progress: TrainingProgress, patience_score: ValidationScore, patience_by: str | None
) -> TrainingProgress:
    """Return the progress with the number of validations since the best one.

    Args:
        progress: the progress before the validation
        patience_score: the score that `training.patience` compares
        patience_by: its name in the recipe; if this name has changed, counting starts again at 0
    """
    best = progress.leader if progress.waits_for == patience_by else None
    if best is None or patience_score.improves(best):
        return replace(progress, leader=patience_score, waits_for=patience_by, stale=0)
    return replace(progress, stale=progress.stale + 1)


def patience_is_over(progress: TrainingProgress, patience: Patience | None) -> bool:
    """Return true if training must stop, because `patience` validations in a row gave no better score."""
    if patience is None or progress.waits_for != patience.by:
        return False
    return progress.stale >= patience.validations


class StopFlags:
    """The reasons to interrupt training: a signal that asks to stop, or a checkpoint that is due.

    All ranks act on the flags of the last exchange. If a rank gets a signal after it, the signal has no
    effect until the next exchange, so that all ranks always do the same. Each update exchanges the flags
    once, after its backward passes; `sync` exchanges them between updates.

    Args:
        stop: the signals of this process
        strategy: exchanges the flags of all ranks
        save_minutes: minutes after which the next checkpoint is due; None: never
    """

    def __init__(self, stop: StopRequest, strategy: Parallelism, save_minutes: float | None) -> None:
        self._stop = stop
        self._strategy = strategy
        self._save_minutes = save_minutes
        self._saved_at = time.monotonic()
        self.signal: signal.Signals | None = None
        self.save_is_due = False

    def sync(self) -> None:
        """Exchange the flags of all ranks (collective)."""
        self.receive(self._strategy.max_over_ranks(self.own_flags()))

    def own_flags(self) -> list[int]:
        """Return the flags of this rank: the number of a signal or 0, and 1 if a checkpoint is due."""
        return [self._stop.signal or 0, int(self._minutes_are_over())]

    def receive(self, numbers: Sequence[int]) -> None:
        """Set the flags of all ranks."""
        number, save = numbers
        self.signal = signal.Signals(number) if number else None
        self.save_is_due = bool(save)

    def restart_minutes(self) -> None:
        """Restart the count of minutes to the next checkpoint."""
        self._saved_at = time.monotonic()

    @property
    def interrupts(self) -> bool:
        """True if a checkpoint must be written after this update."""
        return self.signal is not None or self.save_is_due

    def raise_if_stopped(self) -> None:
        """Interrupt training if the last exchange had a signal.

        Raises:
            Stopped: a signal asked a rank to stop
        """
        if self.signal is not None:
            raise Stopped(self.signal)

    def _minutes_are_over(self) -> bool:
        if self._save_minutes is None:
            return False
        return time.monotonic() - self._saved_at > 60 * self._save_minutes
