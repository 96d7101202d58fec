"""Tables that can be read as they are and pasted into a document."""

import io
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table in Markdown, as wide as it needs to be."""
    table = Table(*header, box=box.MARKDOWN)
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=10_000, color_system=None, markup=False, emoji=False)
    with console.capture() as text:
        console.print(table)
    yield from (line.rstrip() for line in text.get().splitlines() if line.strip())
