"""A live view on a terminal: a bar, and numbers under it; lines that stay go above."""

import weakref

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Terminal:
    """Draws on standard error.

    It draws when it is told something, never by itself: a drawing thread would stand in the way of processes
    that are forked while it runs.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        # Wherever a run ends, the cursor comes back.
        self._close = weakref.finalize(self, self._live.stop)
        self._live.start()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(Text(line), soft_wrap=True)

    def show(self, what: str, share: float | None, numbers: str = "") -> None:
        """Draw the bar again; `share` of it is full, or None where nobody knows."""
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=share, width=24) if share is not None else Text("...")
        row.add_row(Text(what), bar, Text("" if share is None else f"{share:.1%}"))
        self._live.update(Group(row, Text(numbers)) if numbers else row, refresh=True)

    def close(self) -> None:
        """Take the bar away."""
        self._close()
