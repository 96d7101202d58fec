"""When training stops because it gets no better."""

from dataclasses import replace

from seqx.checkpoint import Progress
from seqx.interfaces.figures import Figure
from seqx.training.settings import Patience


def validated(progress: Progress, figure: Figure, waits_for: str | None) -> Progress:
    """Return the progress after a validation, with how many there were since the best one.

    Args:
        progress: before it
        figure: what patience waits for
        waits_for: its name in the recipe; with another one than before, counting begins anew
    """
    best = progress.leader if progress.waits_for == waits_for else None
    if best is None or figure.improves(best):
        return replace(progress, leader=figure, waits_for=waits_for, stale=0)
    return replace(progress, stale=progress.stale + 1)


def is_over(progress: Progress, patience: Patience | None) -> bool:
    """Return whether a run has waited long enough."""
    if patience is None or progress.waits_for != patience.by:
        return False
    return progress.stale >= patience.validations
