"""A live view on a terminal: a progress bar with metrics, below lines that scroll."""

import weakref

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Terminal:
    """Draws on standard error.

    It only draws when a method is called, without a thread, because a thread would interfere with forked
    processes.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        # Restore the cursor however the run ends.
        self._close = weakref.finalize(self, self._live.stop)
        self._live.start()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(Text(line), soft_wrap=True)

    def show(self, what: str, share: float | None, numbers: str = "") -> None:
        """Redraw the bar; `share` is its filled fraction, or None if it is unknown."""
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=share, width=24) if share is not None else Text("...")
        row.add_row(Text(what), bar, Text("" if share is None else f"{share:.1%}"))
        self._live.update(Group(row, Text(numbers)) if numbers else row, refresh=True)

    def close(self) -> None:
        """Remove the bar."""
        self._close()
