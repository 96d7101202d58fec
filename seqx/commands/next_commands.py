"""Commands that a finished run prints: what to do with its model."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from seqx.cli import plugin_commands
from seqx.commands.loading import CheckedRecipe
from seqx.data.prepare import no_progress
from seqx.errors import UserError
from seqx.interfaces.task import Split, Task
from seqx.recipe import Configured
from seqx.recipe.files import read_stored
from seqx.storage.cache_folder import default_cache
from seqx.storage.weights import WEIGHTS

_ABOUT_RUNS: Mapping[str, str] = {
    "report": "seqx report {run}",
    "compare": "seqx compare {other} {run}",
}
"""Commands about runs, which are printed if a plugin provides them."""

_MAX_RUNS = 50  # other runs that are read, the newest first
_MAX_ROWS = 100  # from which an example is chosen
_MIN_WORDS, _START_WORDS = 5, 2  # of an input, and of the text that a language model continues
_NO_EXAMPLE = "Write your own text here."
_PROGRAM = re.compile(r"\bseqx(?= [a-z])")


def next_commands(checked: CheckedRecipe, folder: Path) -> Iterator[str]:
    """Yield commands that use a finished run, with the paths of its folder and its model.

    The commands of the task come first.
    """
    task = checked.configured.settings["task"]
    assert isinstance(task, Configured)
    maker = task.component.maker if task.component else None
    trust = " --trust-local-plugins" if checked.recipe.plugins else ""
    values = {"model": str(folder / "model"), "run": str(folder)}
    commands = [*getattr(maker, "next_commands", ())]
    if any("{input}" in command or "{start}" in command for command in commands):
        values |= dict(zip(("input", "start"), _example(task, folder), strict=True))
    evaluate = "seqx evaluate {model}" + " --sentences answers.jsonl" * scores_single_answers(maker)
    commands = [f"{each}{trust}" for each in (*commands, evaluate)]
    if (other := _other_run(folder)) is not None:
        values["other"] = str(other)
    for name, command in _ABOUT_RUNS.items():
        if name in plugin_commands()[0] and (other is not None or "{other}" not in command):
            commands.append(f"{command}{trust}" if "{other}" in command else command)
    quoted = {name: shlex.quote(value) for name, value in values.items()}
    program = shell_name().replace("{", "{{").replace("}", "}}")
    for command in commands:
        yield _PROGRAM.sub(lambda _: program, command).format(**quoted)


def scores_single_answers(task: object) -> bool:
    """Return true if a class of tasks implements `answer_scores`."""
    return getattr(task, "answer_scores", Task.answer_scores) is not Task.answer_scores


def shell_name() -> str:
    """Return the name of this `seqx` for a shell, with its path if the shell would not find it otherwise."""
    called = Path(sys.argv[0])
    found = shutil.which("seqx")
    if called.name != "seqx" or (found is not None and called.exists() and called.samefile(found)):
        return "seqx"
    return shlex.quote(sys.argv[0])


def _example(task: Configured[Any], folder: Path) -> tuple[str, str]:
    """Return a short input of the test or development split, and the first words of its reference."""
    if not (folder / "model" / "task").is_dir():
        return _NO_EXAMPLE, _NO_EXAMPLE
    try:
        built: Task = task()
        built.load(folder / "model" / "task")  # some tasks split lines by their number of tokens
        for name in ("test", "dev", "train"):
            if name in built.available:
                built.fetch(default_cache() / "corpora", no_progress, splits=(name,))
                split = Split(name, [*islice(built.rows(name), _MAX_ROWS)])
                inputs, references = (
                    [text for text in texts if _can_echo(text)]
                    for texts in (built.inputs(split), built.references(split))
                )
                start = " ".join(_shortest(references).split()[:_START_WORDS])
                return _shortest(inputs), start
    except (UserError, OSError):
        pass  # the run has finished; the files of its corpus may have been removed
    return _NO_EXAMPLE, _NO_EXAMPLE


def _can_echo(text: object) -> bool:
    """Return true for a line of text that every shell's `echo` prints unchanged."""
    return isinstance(text, str) and text.isprintable() and not text.startswith("-") and "\\" not in text


def _shortest(texts: Sequence[str]) -> str:
    """Return the shortest text with some words; if there is none, the one with the most words."""
    enough = [text for text in texts if len(text.split()) >= _MIN_WORDS]
    if enough:
        return min(enough, key=len)
    return max(texts, key=lambda text: len(text.split()), default="") or _NO_EXAMPLE


def _other_run(folder: Path) -> Path | None:
    """Return the newest other finished run of the same task in the same folder; None if there is none."""
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
