"""The command `seqx run`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from seqx.cli import EXIT_INTERRUPTED, EXIT_STOPPED
from seqx.commands.arguments import device_option, profile_option
from seqx.commands.loading import CheckedRecipe, load_checked
from seqx.commands.next_commands import next_commands
from seqx.errors import PluginError, UserError
from seqx.experiment import run as run_experiment
from seqx.interfaces.scores import Score
from seqx.parallel import World, join_ranks, leave
from seqx.parallel.launch import launch
from seqx.plugin.blame import message_naming_plugin
from seqx.run_checks import changed_plugin
from seqx.run_folder import RunFolder
from seqx.runtime.background import has_abandoned_threads
from seqx.runtime.cpu_threads import MAX_THREADS
from seqx.runtime.printing import defer_write_errors
from seqx.runtime.signals import Stopped, StopRequest
from seqx.storage.checkpoints import Checkpoints
from seqx.training.candidates import comparison_lines, read_compared
from seqx.training.preflight import build_checked
from seqx_toolkit import DISTRIBUTION


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
            checked = load_checked(recipe, profile, overrides)
            run_folder = RunFolder(_folder(checked, folder, profile))
            if run_folder.final_scores(checked.configured) is None:
                build_checked(checked.configured, begun=run_folder.vocabulary.is_dir())
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
    checked = load_checked(recipe, profile, overrides)
    folder = _folder(checked, folder, profile)
    was_finished = RunFolder(folder).final_scores(checked.configured) is not None
    with _reporting_failure(ctx, folder, world, checked):
        scores = run_experiment(
            checked.configured,
            checked.plugins,
            name=_name(checked, profile),
            folder=folder,
            device=device,
            number_of_threads=threads,
            changed_plugins=changed_plugins,
            stop=stop,
            world=world,
        )
    if world.is_rank_zero:
        _print_scores(checked, folder, scores, was_finished=was_finished, changed_plugins=changed_plugins)


def _name(checked: CheckedRecipe, profile: str | None) -> str:
    return checked.recipe.name + (f"-{profile}" if profile else "")


def _folder(checked: CheckedRecipe, folder: Path | None, profile: str | None) -> Path:
    return folder or Path("runs", _name(checked, profile))


def _print_scores(
    checked: CheckedRecipe,
    folder: Path,
    scores: Mapping[str, Mapping[str, Score]],
    *,
    was_finished: bool,
    changed_plugins: bool,
) -> None:
    """Print the scores of a run, the scores of its candidate weights, and published scores."""
    if was_finished:
        changed = changed_plugin(folder, checked.plugins) if changed_plugins else None
        advice = f" from before {changed} changed (choose another --folder to train again)" if changed else ""
        click.echo(f"{folder}: this run is finished; its scores{advice}:")
    for split, by_metric in scores.items():
        for metric, score in by_metric.items():
            click.echo(f"{split} {metric} {score}")
    for line in comparison_lines(read_compared(folder / "model")):
        click.echo(line)
    published = checked.configured.plain()["published"] or {}
    for split in scores:
        for metric, value in (published.get(split) or {}).items():
            click.echo(f"published {split} {metric} {value:.2f}  {published['source']}")
    click.echo(f"model: {folder / 'model'}")
    click.echo("next, for example:", err=True)
    for command in next_commands(checked, folder):
        click.echo(f"  {command}", err=True)


@contextmanager
def _reporting_failure(
    ctx: click.Context, folder: Path, world: World, checked: CheckedRecipe
) -> Iterator[None]:
    """Report a signal, an interrupt or a plugin's error in the block, and how to resume the run.

    Other errors are raised again, with a note about components of external plugins, which may be the cause.
    """
    try:
        yield
    except Stopped as stopped:
        if world.is_rank_zero:
            state = f"stopped by {stopped}, {_last_checkpoint(folder)}"
            click.echo(f"{folder}: {state}; run the same command again to continue", err=True)
        _exit(ctx, EXIT_STOPPED, world)
    except KeyboardInterrupt:
        if world.is_rank_zero:
            click.echo(f"{folder}: interrupted; run the same command again to continue", err=True)
        _exit(ctx, EXIT_INTERRUPTED, world)
    except UserError:
        raise
    except Exception as error:
        message = message_naming_plugin(error)
        if message is None:
            if components := _external_components(checked):
                error.add_note(
                    f"The recipe uses {', '.join(components)}. Perhaps a method of such a component has "
                    "returned something wrong: run its laws (seqx.testing.laws)."
                )
            raise
        raise PluginError(f"{message}\n{_advice(folder)}") from error


def _external_components(checked: CheckedRecipe) -> list[str]:
    """Return the components of the recipe that are not included in seqx, with their files and lines."""
    found = []
    for component in checked.configured.used():
        plugin = checked.plugins.of(component)
        if plugin is not None and plugin.source != DISTRIBUTION:
            found.append(f"the {component.interface.__name__} {component.name!r} ({component.where})")
    return list(dict.fromkeys(found))


def _exit(ctx: click.Context, code: int, world: World) -> None:
    # With several ranks, the heartbeat informs the other ranks and ends this process.
    if world.size == 1 and has_abandoned_threads():
        leave(code)
    ctx.exit(code)


def _last_checkpoint(folder: Path) -> str:
    steps = Checkpoints(folder / "checkpoints").steps()
    return f"the checkpoint of update {steps[-1]} is kept" if steps else "no checkpoint was written yet"


def _advice(folder: Path) -> str:
    """Return the advice after an error of a plugin: how to resume the run."""
    start = "from there" if Checkpoints(folder / "checkpoints").steps() else "from the start"
    return (
        f"{folder}: {_last_checkpoint(folder)}; fix the plugin, and run the same command again to "
        f"continue {start} (with --changed-plugins, if the plugin is a local file)"
    )
