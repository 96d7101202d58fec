"""Early stopping when a score no longer improves."""

from dataclasses import replace

from seqx.interfaces.scores import ValidationScore
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.training.config import Patience


def validated(progress: TrainingProgress, figure: ValidationScore, waits_for: str | None) -> TrainingProgress:
    """Return the progress after a validation, with the number of validations since the best one.

    Args:
        progress: before it
        figure: the score that patience watches
        waits_for: its name in the recipe; if it has changed, counting starts again at 0
    """
    best = progress.leader if progress.waits_for == waits_for else None
    if best is None or figure.improves(best):
        return replace(progress, leader=figure, waits_for=waits_for, stale=0)
    return replace(progress, stale=progress.stale + 1)


def is_over(progress: TrainingProgress, patience: Patience | None) -> bool:
    """Return true if training has to stop."""
    if patience is None or progress.waits_for != patience.by:
        return False
    return progress.stale >= patience.validations
