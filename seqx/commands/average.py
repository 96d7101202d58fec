"""`seqx average`."""

from pathlib import Path

import click

from seqx import checkpoint
from seqx.checkpoint import WEIGHTS, Checkpoints
from seqx.commands.opening import opened
from seqx.errors import UserError
from seqx.plugins import LOCAL
from seqx.runs import RunFolder, environment, local_files, written


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--last", type=click.IntRange(1), metavar="K", help="The last K; else as the recipe says.")
@click.option("--best", type=click.IntRange(1), metavar="K", help="The K with the best scores in validation.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The model's folder; RUN/averaged-K when left out."
)
@click.pass_context
def average(
    ctx: click.Context, /, run: Path, *, last: int | None, best: int | None, out: Path | None
) -> None:
    """Average checkpoints of a run into one model.

    The run may be unfinished. Checkpoints that it saved only to be resumed from are left out.
    """
    if last is not None and best is not None:
        raise click.UsageError("give --last or --best, not both", ctx)
    if not (run / "recipe.yaml").is_file() or not (run / "checkpoints").is_dir():
        raise UserError(f"{run}: no run is in this folder; name one, as runs/NAME")
    found = opened(str(run / "recipe.yaml"))
    place = RunFolder(run)
    place.check_plugins(found.plugins)
    experiment = found.made()
    checkpoints = Checkpoints(run / "checkpoints")
    how = experiment.training
    choose = "last" if last else "best" if best else how.choose
    steps = checkpoints.chosen(last or best or how.average, choose=choose)
    if not steps:
        raise UserError(f"{run}: this run has saved no checkpoint yet; wait for the first")
    folder = out or run / f"averaged-{len(steps)}"
    if folder.exists():
        raise UserError(f"{folder}: is there already; remove it, or choose another --out")
    weights = checkpoint.average([checkpoints.path(step) / WEIGHTS for step in steps])
    experiment.task.load(place.learnt)
    about = {
        "run": run.resolve().name,
        "steps": steps,
        "sizes": dict(experiment.task.sizes),
        **environment(found.plugins),
    }
    checkpoint.write_model(
        folder,
        weights,
        recipe=written(found.made, found.plugins),
        learnt=place.learnt,
        about=about,
        beside={f"{LOCAL}/{file.name}": file for file in local_files(found.plugins)},
    )
    wanted = last or best or len(steps)
    if len(steps) < wanted:
        click.echo(f"{run} has {len(steps)} checkpoints to average, not {wanted}", err=True)
    click.echo(f"{folder}: the mean of steps {', '.join(map(str, steps))}")
