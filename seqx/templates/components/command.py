from pathlib import Path

import click

import seqx


@click.command(epilog="Example: seqx newcomer runs/quickstart")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
def newcomer(runs: tuple[Path, ...]) -> None:
    """Print the scores of RUNS on the test set."""
    for folder in runs:
        record = seqx.Record.read(folder)
        if record.scores is None:
            click.echo(f"{folder}: is not finished")
            continue
        for name, score in record.scores["test"].items():
            click.echo(f"{folder}: {name} {score.value:.2f}")
