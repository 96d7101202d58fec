"""Commands that a finished run prints: what to do with its model."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqx.cli import plugin_commands
from seqx.commands.loading import CheckedRecipe
from seqx.recipe import Configured
from seqx.storage.weights import WEIGHTS

_ABOUT_RUNS: Mapping[str, str] = {
    "report": "seqx report {run}",
    "compare": "seqx compare {other} {run}",
}
"""Commands about runs, which are printed if a plugin provides them."""


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
    """Return the newest other finished run beside a run; None if there is none."""
    weights = [
        path for path in folder.parent.glob(f"*/model/{WEIGHTS}") if path.parents[1].name != folder.name
    ]
    return max(weights, key=lambda path: path.stat().st_mtime).parents[1] if weights else None
