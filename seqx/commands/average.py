"""`seqx average`."""

from pathlib import Path
from typing import Any

import click

from seqx import checkpoint
from seqx.checkpoint import WEIGHTS, Checkpoints
from seqx.commands.opening import opened
from seqx.data.cache import default_cache
from seqx.data.prepare import learnt
from seqx.errors import UserError
from seqx.interfaces.text import Task
from seqx.runs import LOCAL, environment, local_files, written


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--last", type=click.IntRange(1), metavar="K", help="How many; as the recipe says when left out."
)
@click.option("--best", is_flag=True, help="The best K by validation, not the last.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The model's folder; RUN/averaged-K when left out."
)
def average(run: Path, *, last: int | None, best: bool, out: Path | None) -> None:
    """Average a run's last checkpoints into one model.

    The run may be unfinished. Checkpoints that it saved only to be resumed from are left out.
    """
    if not (run / "recipe.yaml").is_file() or not (run / "checkpoints").is_dir():
        raise UserError(f"{run}: no run is in this folder; name one, as runs/NAME")
    found = opened(str(run / "recipe.yaml"))
    experiment = found.made()
    checkpoints = Checkpoints(run / "checkpoints")
    steps = checkpoints.chosen(last or experiment.training.average, choose="best" if best else "last")
    if not steps:
        raise UserError(f"{run}: this run has saved no checkpoint yet; wait for the first")
    folder = out or run / f"averaged-{len(steps)}"
    if folder.exists():
        raise UserError(f"{folder}: is there already; remove it, or choose another --out")
    weights = checkpoint.average([checkpoints.path(step) / WEIGHTS for step in steps])
    vocabulary = _vocabulary(run, experiment.task, found.made.plain()["task"])
    experiment.task.load(vocabulary)
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
        learnt=vocabulary,
        about=about,
        beside={f"{LOCAL}/{file.name}": file for file in local_files(found.plugins)},
    )
    if last is not None and len(steps) < last:
        click.echo(f"{run} has {len(steps)} checkpoints to average, not {last}", err=True)
    click.echo(f"{folder}: the mean of steps {', '.join(map(str, steps))}")


def _vocabulary(run: Path, task: Task, settings: Any) -> Path:
    """What the task learnt: kept in a finished run's model, else in the cache."""
    if (run / "model" / "task").is_dir():
        return run / "model" / "task"
    task.fetch(default_cache() / "corpora", _quiet)
    return learnt(task, settings, default_cache())


def _quiet(_what: str, _share: float | None) -> None:
    """The run has told it all."""
