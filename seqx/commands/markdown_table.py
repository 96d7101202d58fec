"""Tables in Markdown."""

import io
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table with aligned columns, readable as plain text.

    Vertical bars in cells are escaped, and line breaks become spaces.
    """
    table = Table(*map(_escaped, header), box=box.MARKDOWN)
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        table.add_row(*map(_escaped, row))
    # Without a height, rich uses 80 columns on a dumb terminal.
    console = Console(
        file=io.StringIO(), width=10_000, height=100, color_system=None, markup=False, emoji=False
    )
    with console.capture() as text:
        console.print(table)
    yield from (line.rstrip() for line in text.get().splitlines() if line.strip())


def _escaped(cell: str) -> str:
    return " ".join(cell.splitlines()).replace("|", r"\|")
