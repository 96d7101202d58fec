"""A live view on a terminal: a progress bar with metrics, and above it lines that scroll."""

import weakref

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Terminal:
    """The live view on standard error.

    It is drawn only when a method is called. A thread that redraws it would interfere with forked processes.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        # The finalizer restores the cursor also if the run fails.
        self._close = weakref.finalize(self, self._live.stop)
        self._live.start()

    def print_line(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(Text(line), soft_wrap=True)

    def draw(self, text: str, fraction: float | None, metrics: str = "") -> None:
        """Redraw the bar.

        Args:
            text: text before the bar
            fraction: filled fraction of the bar; None if it is unknown
            metrics: text below the bar
        """
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=fraction, width=24) if fraction is not None else Text("...")
        row.add_row(Text(text), bar, Text("" if fraction is None else f"{fraction:.1%}"))
        self._live.update(Group(row, Text(metrics)) if metrics else row, refresh=True)

    def close(self) -> None:
        """Remove the bar."""
        self._close()
