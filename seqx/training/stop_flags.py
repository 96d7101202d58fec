"""The reasons to interrupt training after an update, which all ranks must share."""

import signal
import time

from seqx.parallel import World
from seqx.runtime.signals import Stopped, StopRequest


class StopFlags:
    """The signal that asked a rank to stop, and whether it is time to save.

    All ranks act on the flags of the last `sync`, never on what has reached one of them since.

    Args:
        stop: the signals of this process
        world: the ranks
        save_minutes: minutes between two checkpoints; None: no limit
    """

    def __init__(self, stop: StopRequest, world: World, save_minutes: float | None) -> None:
        self._stop = stop
        self._world = world
        self._save_minutes = save_minutes
        self._saved_at = time.monotonic()
        self.signal: signal.Signals | None = None
        self.save_is_due = False

    def sync(self) -> None:
        """Exchange the flags of all ranks (collective)."""
        own = [self._stop.signal or 0, int(self._minutes_are_over())]
        number, save = (max(flags) for flags in zip(*self._world.all_gather_ints(own), strict=True))
        self.signal = signal.Signals(number) if number else None
        self.save_is_due = bool(save)

    def saved(self) -> None:
        """Count the minutes to the next checkpoint from now on."""
        self._saved_at = time.monotonic()

    @property
    def interrupts(self) -> bool:
        """True if a checkpoint must be written after this update."""
        return self.signal is not None or self.save_is_due

    def raise_if_stopped(self) -> None:
        """Stop if a signal asked any rank to.

        Raises:
            Stopped: a signal did
        """
        if self.signal is not None:
            raise Stopped(self.signal)

    def _minutes_are_over(self) -> bool:
        if self._save_minutes is None:
            return False
        return time.monotonic() - self._saved_at > 60 * self._save_minutes
