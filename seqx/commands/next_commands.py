"""Commands that a finished run prints: what to do with its model."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqx.cli import plugin_commands
from seqx.commands.loading import CheckedRecipe
from seqx.errors import UserError
from seqx.recipe import Configured
from seqx.recipe.files import read_stored
from seqx.storage.weights import WEIGHTS

_ABOUT_RUNS: Mapping[str, str] = {
    "report": "seqx report {run}",
    "compare": "seqx compare {other} {run}",
}
"""Commands about runs, which are printed if a plugin provides them."""

_MAX_RUNS = 50  # the newest ones are read


def next_commands(checked: CheckedRecipe, folder: Path) -> Iterator[str]:
    """Yield commands that use a finished run, with the paths of its folder and its model.

    The first ones are those of the task.
    """
    task = checked.configured.settings["task"]
    assert isinstance(task, Configured)
    maker = task.component.maker if task.component else None
    trust = " --trust-local-plugins" if checked.recipe.plugins else ""
    model = shlex.quote(str(folder / "model"))
    for command in getattr(maker, "next_commands", ()):
        yield f"{command.format(model=model)}{trust}"
    yield f"seqx evaluate {model} --sentences answers.jsonl{trust}"
    other = _other_run(folder)
    for name, command in _ABOUT_RUNS.items():
        if name in plugin_commands()[0] and (other is not None or "{other}" not in command):
            yield command.format(run=shlex.quote(str(folder)), other=shlex.quote(str(other)))


def _other_run(folder: Path) -> Path | None:
    """Return the newest other finished run of the same task beside a run; None if there is none."""
    weights = [path for path in folder.parent.glob(f"*/model/{WEIGHTS}") if path.parents[1] != folder]
    if not weights or (task := _scored_task(folder)) is None:
        return None
    newest = sorted(weights, key=lambda path: path.stat().st_mtime, reverse=True)
    runs = (path.parents[1] for path in newest[:_MAX_RUNS])
    return next((run for run in runs if _scored_task(run) == task), None)


def _scored_task(folder: Path) -> object:
    """Return the settings of a run that determine whether its scores can be compared; None if unknown.

    These are the type of the task, its plain values, such as the number of the target column, and the
    settings of its corpus, except those of the training text.
    """
    try:
        task = read_stored(folder / "recipe.yaml").plain()["task"]
        corpus = task.get("corpus")
    except (UserError, KeyError, TypeError, AttributeError):
        return None
    if isinstance(corpus, dict):
        corpus = {name: value for name, value in corpus.items() if name != "train"}
    return {name: value for name, value in task.items() if not isinstance(value, dict | list)}, corpus
