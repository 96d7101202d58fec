"""The command `seqx report`."""

from pathlib import Path

import click

import seqx
from seqx_runs.report import write_report


@click.command(epilog="Example: seqx report runs/wmt_en_de-sample")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="Leave out all sections that need the model or the corpus.")
@seqx.trust_option
def report(runs: tuple[Path, ...], *, quick: bool, trust_local_plugins: bool) -> None:
    """Write the page report.html into the folder of a run.

    A RUN is the folder of a run: finished, running, stopped or failed. `seqx run` writes the page at its end.
    It has learning curves, scores with confidence intervals, mistakes, best and worst sentences, attention,
    the recipe with the origin of each value, data, environment, and commands to repeat the run.
    """
    for folder in runs:
        click.echo(write_report(folder, trust=trust_local_plugins, with_answers=not quick))
