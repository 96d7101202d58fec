"""`seqx compare`."""

from pathlib import Path

import click

import seqx
from seqx_watch.comparison import compare as compared
from seqx_watch.comparison import shown


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All that is known, as JSON.")
def compare(runs: tuple[Path, ...], *, as_json: bool) -> None:
    """Runs side by side: scores, speed, and in what their recipes differ.

    A RUN is the folder of one, finished or not. Figures that its recipe says were published stand in
    parentheses; differences are told against the first RUN, whose value is in parentheses, too.
    """
    rows = compared(runs)
    if as_json:
        click.echo(seqx.json_text(rows, indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(shown(rows)))
