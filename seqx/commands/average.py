"""`seqx average`."""

from functools import partial
from pathlib import Path

import click

from seqx.commands.arguments import trust
from seqx.commands.opening import opened_of_run
from seqx.errors import UserError
from seqx.experiment import parameters
from seqx.run_folder import RunFolder


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--last", type=click.IntRange(1), metavar="K", help="The last K; else as the recipe says.")
@click.option("--best", type=click.IntRange(1), metavar="K", help="The K with the best scores in validation.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The model's folder; RUN/averaged-K when left out."
)
@trust
@click.pass_context
def average(
    ctx: click.Context,
    /,
    run: Path,
    *,
    last: int | None,
    best: int | None,
    out: Path | None,
    trust_local_plugins: bool,
) -> None:
    """Average checkpoints of a run into one model.

    The run may be unfinished. Checkpoints that it saved only to be resumed from are left out.
    """
    if last is not None and best is not None:
        raise click.UsageError("give --last or --best, not both", ctx)
    if not (run / "recipe.yaml").is_file() or not (run / "checkpoints").is_dir():
        raise UserError(f"{run}: no run is in this folder; name one, as runs/NAME")
    found = opened_of_run(run, trust=trust_local_plugins)
    place = RunFolder(run)
    experiment = found.made()
    checkpoints = place.checkpoints
    how = experiment.training
    choose = "last" if last else "best" if best else how.order
    if not checkpoints.steps():
        raise UserError(f"{run}: this run has saved no checkpoint yet; wait for the first")
    _check_free(out)
    tell = partial(click.echo, err=True)
    count = last or best or how.average
    steps, weights = checkpoints.average(count, select=choose, warn=tell, set_aside=False)
    if best and any(checkpoints.info(step).score is None for step in steps):
        raise UserError(
            f"{run}: no checkpoint that it keeps was validated; give --last K, or train with "
            "training.choose=best, by which those with the best scores are kept"
        )
    folder = out or run / f"averaged-{len(steps)}"
    _check_free(folder)
    experiment.task.load(place.learnt)
    place.write_model(
        folder,
        weights,
        steps=steps,
        sizes=experiment.task.vocab_sizes,
        parameters=parameters(experiment),
        made=found.made,
        plugins=found.plugins,
    )
    wanted = last or best or len(steps)
    if len(steps) < wanted:
        click.echo(f"{run} has {len(steps)} checkpoints to average, not {wanted}", err=True)
    click.echo(f"{folder}: the mean of steps {', '.join(map(str, steps))}")


def _check_free(folder: Path | None) -> None:
    if folder is not None and folder.exists():
        raise UserError(f"{folder}: is there already; remove it, or choose another --out")
