"""The command `seqx average`."""

from functools import partial
from pathlib import Path

import click

from seqx.commands.arguments import trust_option
from seqx.commands.loading import load_checked_run
from seqx.commands.output_path import OutputPath, check_outside
from seqx.errors import UserError
from seqx.run_folder import CHECKPOINTS, RunFolder
from seqx.training.preflight import count_parameters


@click.command(epilog="Example: seqx average runs/wmt_en_de-sample --last 3")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--last", type=click.IntRange(1), metavar="K", help="Average the last K checkpoints.")
@click.option(
    "--best", type=click.IntRange(1), metavar="K", help="Average the K checkpoints with the best scores."
)
@click.option(
    "--out",
    metavar="DIR",
    type=OutputPath(is_new=True),
    help="New folder of the model.  [default: RUN/averaged-K]",
)
@trust_option
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
    """Average checkpoints of a run into a model.

    RUN is the folder of a run, such as runs/NAME; the run may be unfinished. Without --last and --best,
    average the checkpoints that the recipe selects. Checkpoints that only serve to resume the run
    (training.save_minutes) are left out, unless there are no others.
    """
    if last is not None and best is not None:
        raise click.UsageError("use --last or --best, not both", ctx)
    if not (run / "recipe.yaml").is_file() or not (run / "checkpoints").is_dir():
        raise UserError(f"{run}: is not the folder of a run; name one, such as runs/NAME")
    checked = load_checked_run(run, trust_local_plugins=trust_local_plugins)
    run_folder = RunFolder(run)
    experiment = checked.configured()
    checkpoints = run_folder.checkpoints
    config = experiment.training
    order = "last" if last else "best" if best else config.order
    if out is not None:
        check_outside(out, run_folder.model, run_folder.vocabulary, run / CHECKPOINTS)
    if not checkpoints.steps():
        raise UserError(f"{run}: this run has saved no checkpoint yet; wait for the first one")
    warn = partial(click.echo, err=True)
    count = last or best or config.average
    steps, weights = checkpoints.average(count, order=order, warn=warn)
    if best and any(checkpoints.info(step).score is None for step in steps):
        raise UserError(
            f"{run}: none of its checkpoints was validated; use --last K, or train with "
            "training.select=best, which keeps the checkpoints with the best scores"
        )
    folder = out or run / f"averaged-{len(steps)}"
    if folder.exists():
        raise UserError(f"{folder}: exists already; remove it, or choose another folder with --out")
    experiment.task.load(run_folder.vocabulary)
    run_folder.write_model(
        folder,
        weights,
        steps=steps,
        sizes=experiment.task.vocab_sizes,
        parameters=count_parameters(experiment),
        recipe=checked.configured,
        plugins=checked.plugins,
    )
    requested = last or best or len(steps)
    if len(steps) < requested:
        found = "1 checkpoint" if len(steps) == 1 else f"{len(steps)} checkpoints"
        option = "--last" if last else "--best"
        click.echo(f"{option} {requested}: {run} has only {found}; the mean is that of all", err=True)
    click.echo(f"{folder}: the mean of steps {', '.join(map(str, steps))}")
