"""The command `seqx compare`."""

from pathlib import Path

import click

import seqx
from seqx_runs.comparison import compare_runs, format_comparison


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print all data as JSON.")
def compare(runs: tuple[Path, ...], *, as_json: bool) -> None:
    """Compare runs: scores, speed, and differences between their recipes.

    A RUN is the folder of a run, finished or not. In the table, published scores from the recipe are in
    parentheses. Below the table, the recipe and the environment of each run are compared with those of the
    first RUN, whose values are in parentheses.
    """
    rows = compare_runs(runs)
    if as_json:
        click.echo(seqx.json_text(rows, indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(format_comparison(rows)))
