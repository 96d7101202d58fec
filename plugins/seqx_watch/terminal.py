"""A live view on a terminal: rows that are redrawn in place, and above them lines that scroll."""

import sys
import weakref
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.control import Control
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

_ECHO = 2  # cells at the end of the last row, where the terminal shows ^C

Rows = Callable[[int, bool], Sequence[Text]]
"""A function that returns rows. Its arguments are the terminal's width, and true if it shows only ASCII."""


class _Redirected(FileProxy):
    """A standard stream whose text scrolls above the rows.

    rich's class has no attribute `encoding`, so `click.echo` would write to the stream that it replaces.
    """

    encoding = "utf-8"
    errors = "replace"


class Terminal:
    """The live view on standard error.

    It is drawn only when a method is called. A thread that redraws it would interfere with forked processes.
    The cursor stays visible, so that a killed process leaves a usable terminal.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self._drawn: list[int] = []  # the cells of each row that is shown
        self._width = self._console.width
        # The finalizer removes the rows also if the run fails.
        self._close = weakref.finalize(self, self._live.stop)
        self._live.start()
        for name in ("stdout", "stderr"):
            if isinstance(stream := getattr(sys, name), FileProxy):
                setattr(sys, name, _Redirected(self._console, stream.rich_proxied_file))
        self._console.show_cursor()

    def print_line(self, line: str) -> None:
        """Print a line above the rows."""
        self._adapt_to_width()
        self._console.print(Text(line), soft_wrap=True)

    def draw(self, rows: Rows) -> None:
        """Redraw the rows. If the terminal has too few lines, the last rows are left out."""
        self._adapt_to_width()
        width = max(1, self._width - _ECHO)
        drawn = rows(width, self._console.options.ascii_only)[: self._console.height - 1]
        for row in drawn:
            row.no_wrap = True
            row.truncate(width, overflow="ellipsis")
        self._drawn = [row.cell_len for row in drawn]
        self._live.update(Group(*drawn), refresh=True)

    def _adapt_to_width(self) -> None:
        """Erase the rows that were added when a narrower terminal wrapped the rows that are shown."""
        width = self._console.width
        if width < self._width:
            added = sum(max(0, -(-cells // width) - 1) for cells in self._drawn)
            for _ in range(added):
                self._console.control(
                    Control(
                        ControlType.CARRIAGE_RETURN,
                        (ControlType.ERASE_IN_LINE, 2),
                        (ControlType.CURSOR_UP, 1),
                    )
                )
        self._width = width

    def close(self) -> None:
        """Remove the rows."""
        self._close()
