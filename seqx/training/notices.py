"""Warnings of a run, for its user and its callbacks."""

from collections.abc import Iterable

import click
import pluggy

from seqx.training.progress import ProgressTracker
from seqx.training.run_info import Run


class Notices:
    """The warnings of a run, which are printed at once, and passed to callbacks after the event `started`.

    Args:
        events: the events of the callbacks
        progress: gives the number of the update for each warning
        silent: ignore all warnings; true on all ranks except rank 0
    """

    def __init__(self, events: pluggy.HookRelay, progress: ProgressTracker, *, silent: bool) -> None:
        self._events = events
        self._progress = progress
        self._silent = silent
        self._run: Run | None = None  # None: callbacks do not know the run yet
        self._held: list[str] = []
        self._shown: set[str] = set()

    def warn(self, message: str) -> None:
        """Print a warning, and pass it to callbacks, at the latest when the run starts."""
        if self._silent:
            return
        click.echo(message, err=True)
        if self._run is None:
            self._held.append(message)
        else:
            self._events.noticed(run=self._run, step=self._progress.step, message=message)

    def warn_all(self, messages: Iterable[str]) -> None:
        """Warn of each message."""
        for message in messages:
            self.warn(message)

    def warn_once(self, topic: str, message: str) -> None:
        """Warn, unless there was a warning on the same topic in this process."""
        if topic not in self._shown:
            self._shown.add(topic)
            self.warn(message)

    def start(self, run: Run, earlier: Iterable[str] = ()) -> None:
        """Send callbacks the event `started`, then the warnings held back so far, then those in `earlier`."""
        self._run = run
        self._events.started(run=run)
        for message in (*self._held, *earlier):
            self._events.noticed(run=run, step=self._progress.step, message=message)
        self._held.clear()

    def hold(self) -> None:
        """Hold warnings back until the next `start`."""
        self._run = None
