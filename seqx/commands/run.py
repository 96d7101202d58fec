"""`seqx run`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from seqx.cli import EXIT_INTERRUPTED, EXIT_STOPPED
from seqx.commands.arguments import device_option, profile_option
from seqx.commands.loading import CheckedRecipe, load_checked
from seqx.errors import PluginError, UserError
from seqx.experiment import run as run_experiment
from seqx.interfaces.values import Score
from seqx.parallel import World, join_ranks, leave
from seqx.parallel.launch import launch
from seqx.plugin.blame import attributed
from seqx.run_folder import RunFolder
from seqx.runtime.background import has_abandoned_threads
from seqx.runtime.cpu_threads import MAX_THREADS
from seqx.runtime.printing import defer_write_errors
from seqx.runtime.signals import Stopped, StopRequest
from seqx.storage.checkpoints import Checkpoints
from seqx.training.candidates import comparison_lines
from seqx.training.candidates import read as read_compared
from seqx.training.preflight import examined


@click.command()
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

    RECIPE is a YAML file, or the name of a recipe that comes with seqx, as wmt_en_de. KEY=VALUE changes a
    setting, as training.steps=1000.

    The model is written to FOLDER/model. An interrupted run resumes from its last checkpoint when the same
    command is run again; a finished run prints its scores. Processes started by torchrun train together.
    """
    stop = StopRequest()
    if devices is not None and devices > 1:
        with stop.handling_signals():  # the error of a run is printed once, here
            found = load_checked(recipe, profile, overrides)
            place = RunFolder(_place(found, folder, profile))
            if place.finished(found.made) is None:
                examined(found.made, begun=place.learnt.is_dir())
        options = {"--profile": profile, "--folder": folder, "--device": device, "--threads": threads}
        said = [f"{name}={value}" for name, value in options.items() if value is not None]
        said += ["--changed-plugins"] * changed_plugins
        debug = ["--debug"] * bool(ctx.find_root().params.get("debug"))
        code, killed = launch([*debug, "run", *said, "--", recipe, *overrides], devices)
        if killed is not None:
            click.echo(killed, err=True)
        ctx.exit(code)
    with join_ranks(device) as (world, own), stop.handling_signals(), defer_write_errors():
        _run(
            ctx,
            world,
            recipe,
            overrides,
            profile,
            folder,
            own,
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
    found = load_checked(recipe, profile, overrides)
    place = _place(found, folder, profile)
    done = RunFolder(place).finished(found.made) is not None
    with _telling(ctx, place, world):
        scores = run_experiment(
            found.made,
            found.plugins,
            name=_name(found, profile),
            folder=place,
            device=device,
            number_of_threads=threads,
            changed_plugins=changed_plugins,
            stop=stop,
            world=world,
        )
    if world.is_rank_zero:
        _tell(found, place, scores, done=done)


def _name(found: CheckedRecipe, profile: str | None) -> str:
    return found.recipe.name + (f"-{profile}" if profile else "")


def _place(found: CheckedRecipe, folder: Path | None, profile: str | None) -> Path:
    return folder or Path("runs", _name(found, profile))


def _tell(
    found: CheckedRecipe, place: Path, scores: Mapping[str, Mapping[str, Score]], *, done: bool
) -> None:
    if done:
        click.echo(f"{place}: this run is finished; its scores:")
    for split, named in scores.items():
        for metric, score in named.items():
            click.echo(f"{split} {metric} {score}")
    for line in comparison_lines(read_compared(place / "model")):
        click.echo(line)
    published = found.made.plain()["published"] or {}
    for split in scores:
        for metric, value in (published.get(split) or {}).items():
            click.echo(f"published {split} {metric} {value:.2f}  {published['source']}")
    click.echo(f"model: {place / 'model'}")


@contextmanager
def _telling(ctx: click.Context, place: Path, world: World) -> Iterator[None]:
    """Whatever breaks a run off is told, with the way on; of several processes the first tells of a stop."""
    try:
        yield
    except Stopped as stopped:
        if world.is_rank_zero:
            click.echo(
                f"{place}: stopped by {stopped}, {_kept(place)}; run the same command again to continue",
                err=True,
            )
        _exit(ctx, EXIT_STOPPED, world)
    except KeyboardInterrupt:
        if world.is_rank_zero:
            click.echo(f"{place}: interrupted; run the same command again to continue", err=True)
        _exit(ctx, EXIT_INTERRUPTED, world)
    except UserError:
        raise
    except Exception as error:
        message = attributed(error)
        if message is None:
            raise
        raise PluginError(f"{message}\n{_way_on(place)}") from error


def _exit(ctx: click.Context, code: int, world: World) -> None:
    # Of several processes each leaves in its own way, once it has told the others.
    if world.size == 1 and has_abandoned_threads():
        leave(code)
    ctx.exit(code)


def _kept(place: Path) -> str:
    steps = Checkpoints(place / "checkpoints").steps()
    return f"the checkpoint of update {steps[-1]} is kept" if steps else "no checkpoint was written yet"


def _way_on(place: Path) -> str:
    """What is left of a run that a plugin broke off, and how it goes on."""
    start = "from there" if Checkpoints(place / "checkpoints").steps() else "from the start"
    return (
        f"{place}: {_kept(place)}; mend the plugin, and the same command goes on {start} "
        "(with --changed-plugins, if the plugin is a local file)"
    )
