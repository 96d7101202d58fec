"""The command `seqx run`."""

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import click

from seqx.cli import EXIT_INTERRUPTED, EXIT_STOPPED
from seqx.commands.arguments import device_option, profile_option
from seqx.commands.next_commands import next_commands
from seqx.commands.recipe_run import RecipeRun
from seqx.interfaces.scores import Score
from seqx.parallel import World, join_ranks, leave
from seqx.parallel.launch import launch
from seqx.run_checks import changed_plugin
from seqx.run_folder import RunFolder
from seqx.runtime.background import has_abandoned_threads
from seqx.runtime.cpu_threads import MAX_THREADS
from seqx.runtime.printing import defer_write_errors
from seqx.runtime.signals import Stopped, StopRequest
from seqx.storage.model_folder import SCORES
from seqx.training.candidates import comparison_lines, read_compared
from seqx.training.preflight import build_checked


@click.command(epilog="Example: seqx run wmt_en_de --profile sample")
@click.argument("recipe")
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@profile_option
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the run.  [default: runs/RECIPE[-PROFILE]]",
)
@device_option
@click.option(
    "--devices",
    metavar="N",
    type=click.IntRange(1),
    help="Number of processes on this machine that train together; each uses a GPU if there are GPUs.",
)
@click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(1, MAX_THREADS),
    help="Threads per process on a CPU; a resumed run keeps its number by default.",
)
@click.option(
    "--changed-plugins", is_flag=True, help="Resume the run even if its local plugins have changed."
)
@click.pass_context
def run(
    ctx: click.Context,
    /,
    recipe: str,
    overrides: tuple[str, ...],
    *,
    profile: str | None,
    folder: Path | None,
    device: str,
    devices: int | None,
    threads: int | None,
    changed_plugins: bool,
) -> None:
    """Train and test the model of a RECIPE, or resume a run.

    RECIPE is a YAML file, or the name of a recipe of seqx, such as wmt_en_de. KEY=VALUE changes a setting,
    such as training.steps=1000; KEY+=VALUE appends to a list, such as callbacks+=tensorboard.

    The model is written to FOLDER/model. Run the same command again to resume an interrupted run from its
    last checkpoint, or to print the scores of a finished run. Processes that torchrun starts train together.
    """
    stop = StopRequest()
    if devices is not None and devices > 1:
        with stop.handling_signals():  # check the recipe here, so that each error is printed only once
            started = RecipeRun.load(recipe, overrides, profile, folder)
            if not started.is_finished:
                begun = RunFolder(started.folder).vocabulary.is_dir()
                build_checked(started.checked.configured, begun=begun)
        options = {"--profile": profile, "--folder": folder, "--device": device, "--threads": threads}
        arguments = [f"{name}={value}" for name, value in options.items() if value is not None]
        arguments += ["--changed-plugins"] * changed_plugins
        debug = ["--debug"] * bool(ctx.find_root().params.get("debug"))
        code, message = launch([*debug, "run", *arguments, "--", recipe, *overrides], devices)
        if message is not None:
            click.echo(message, err=True)
        ctx.exit(code)
    with join_ranks(device) as (world, rank_device), stop.handling_signals(), defer_write_errors():
        _run(
            ctx,
            world,
            recipe,
            overrides,
            profile,
            folder,
            rank_device,
            threads,
            stop,
            changed_plugins=changed_plugins,
        )
    if world.size > 1:
        leave(0)


def _run(
    ctx: click.Context,
    world: World,
    recipe: str,
    overrides: tuple[str, ...],
    profile: str | None,
    folder: Path | None,
    device: str,
    threads: int | None,
    stop: StopRequest,
    *,
    changed_plugins: bool,
) -> None:
    started = RecipeRun.load(recipe, overrides, profile, folder)
    was_finished = started.is_finished
    try:
        scores = started.train(
            device=device, threads=threads, changed_plugins=changed_plugins, stop=stop, world=world
        )
    except KeyboardInterrupt as error:
        _exit(ctx, EXIT_STOPPED if isinstance(error, Stopped) else EXIT_INTERRUPTED, world)
    if world.is_rank_zero:
        _print_scores(started, scores, was_finished=was_finished, changed_plugins=changed_plugins)


def _print_scores(
    started: RecipeRun,
    scores: Mapping[str, Mapping[str, Score]],
    *,
    was_finished: bool,
    changed_plugins: bool,
) -> None:
    """Print the scores of a run, the scores of its candidate weights, and published scores."""
    checked, folder = started.checked, started.folder
    if was_finished:
        changed = changed_plugin(folder, checked.plugins) if changed_plugins else None
        advice = f" from before {changed} changed (choose another --folder to train again)" if changed else ""
        click.echo(f"{folder}: this run is finished; its scores{advice}:")
    published = checked.configured.plain()["published"] or {}
    details = 0
    for split, by_metric in scores.items():
        for metric, score in by_metric.items():
            if score.is_detail and metric not in (published.get(split) or {}):
                details += 1
            else:
                click.echo(f"{split} {metric} {score}")
    for line in comparison_lines(read_compared(folder / "model")):
        click.echo(line)
    for split in scores:
        for metric, value in (published.get(split) or {}).items():
            click.echo(f"published {split} {metric} {value:.2f}  {published['source']}")
    if details:
        click.echo(f"{details} scores that explain these: {folder / 'model' / SCORES}", err=True)
    click.echo(f"model: {folder / 'model'}")
    click.echo("next, for example:", err=True)
    for command in next_commands(checked, folder):
        click.echo(f"  {command}", err=True)


def _exit(ctx: click.Context, code: int, world: World) -> NoReturn:
    # With several ranks, the heartbeat informs the other ranks and ends this process.
    if world.size == 1 and has_abandoned_threads():
        leave(code)
    ctx.exit(code)
