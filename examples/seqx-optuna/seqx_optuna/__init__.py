"""Optuna: the command `seqx tune`, which chooses settings by the scores of earlier trials."""

import importlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import seqx

_RANGES = ("uniform", "log_uniform")
_SEED = 1


@click.command()
@click.argument("recipe")
@click.argument("settings", metavar="KEY=VALUES...", nargs=-1, required=True)
@click.option("--profile", "-p", metavar="NAME", help="Apply a profile of the recipe.")
@click.option("--trials", type=click.IntRange(1), required=True, metavar="N", help="Number of trials in all.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder of the study and of its runs.",
)
def tune(recipe: str, settings: Sequence[str], *, profile: str | None, trials: int, folder: Path) -> None:
    """Train a RECIPE several times, with settings that Optuna chooses by the earlier scores.

    VALUES is a list, such as [1, 2], or a range: {uniform: [0.0, 0.3]} or {log_uniform: [1e-4, 1e-2]}. Any
    other value is the same in all trials. Run the same command again to resume.
    """
    space = dict(map(seqx.parsed_override, settings))
    fixed = {key: value for key, value in space.items() if not (isinstance(value, list) or _is_range(value))}
    seqx.resolved_recipe(recipe, profile, _overrides(fixed))
    study, failed = _study(folder)
    varied = [key for key in space if key not in fixed]
    while (trial := _next_trial(study, varied, trials)) is not None:
        values = {key: _suggested(trial, key, space[key]) for key in varied}
        run = folder / f"trial-{trial.number}"
        command = ["seqx", "run", recipe, *(["--profile", profile] if profile else [])]
        code = _run([*command, "--folder", str(run), *_overrides({**fixed, **values})], run)
        if code:
            study.tell(trial.number, state=failed)
            click.echo(f"trial {trial.number}: failed, see {run}.log: {json.dumps(values)}", err=True)
        else:
            name, score = _dev_score(run)
            study.tell(trial.number, score.rank)
            click.echo(f"trial {trial.number}: dev {name} {score.value:.2f}: {json.dumps(values)}", err=True)
    if not any(trial.value is not None for trial in study.trials):
        raise seqx.UserError(f"{folder}: all trials failed; read the logs, and choose another --folder")
    best = study.best_trial
    params = {key: _decoded(value) for key, value in best.params.items()}
    click.echo(f"best: trial {best.number}, {' '.join(_overrides(params))}")


def _study(folder: Path) -> tuple[Any, Any]:
    """Create or load the study of a folder; return it with Optuna's state of failed trials."""
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        message = (
            f"tune: optuna cannot be imported ({error}); install the extra of this plugin in its folder: "
            "pip install '.[optuna]'"
        )
        raise seqx.UserError(message) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise seqx.unwritable(folder, error, "choose another --folder") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="seqx",
        storage=f"sqlite:///{folder / 'study.db'}",
        direction="maximize",
        load_if_exists=True,
    )
    # With the same seed at each start, the next trial would repeat the settings of the first one.
    study.sampler = optuna.samplers.TPESampler(seed=_SEED + len(study.trials))
    return study, optuna.trial.TrialState.FAIL


def _next_trial(study: Any, keys: Sequence[str], trials: int) -> Any:  # noqa: ANN401  Optuna may be missing
    """Return the trial that was interrupted while it trained, or a new one; None if there are enough."""
    for trial in study.trials:
        if not trial.state.is_finished() and trial.params.keys() >= {*keys}:
            return trial
    return study.ask() if len(study.trials) < trials else None


def _suggested(trial: Any, key: str, values: Any) -> Any:  # noqa: ANN401  values of any setting
    """Return the value of a setting in a trial."""
    if key in trial.params:  # of an interrupted trial
        value = trial.params[key]
    elif isinstance(values, list):
        value = trial.suggest_categorical(key, [json.dumps(each) for each in values])
    else:
        ((name, (low, high)),) = values.items()
        suggest = trial.suggest_int if isinstance(low, int) and isinstance(high, int) else trial.suggest_float
        value = suggest(key, low, high, log=name == "log_uniform")
    return _decoded(value)


def _decoded(value: Any) -> Any:  # noqa: ANN401  a value of any setting
    """Return the value that Optuna stores; it stores a value of a list as JSON."""
    return json.loads(value) if isinstance(value, str) else value


def _is_range(value: Any) -> bool:  # noqa: ANN401  a value of any setting
    """Return true for {uniform: [LOW, HIGH]} and {log_uniform: [LOW, HIGH]}."""
    if not (isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _RANGES):
        return False
    ((name, bounds),) = value.items()
    if not (isinstance(bounds, list) and len(bounds) == 2):  # noqa: PLR2004  low and high
        raise seqx.UserError(f"tune: write a range as {{{name}: [LOW, HIGH]}}")
    return True


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as arguments of `seqx run`."""
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def _run(command: Sequence[str], folder: Path) -> int:
    """Run a command of seqx to its end; its output is appended to a log beside the folder."""
    with folder.with_name(f"{folder.name}.log").open("ab") as log:
        arguments = [sys.executable, "-m", *command]
        return subprocess.run(arguments, stdout=log, stderr=log, check=False).returncode  # noqa: S603  seqx


def _dev_score(folder: Path) -> tuple[str, seqx.Score]:
    """Return the first score of the development set."""
    scores = seqx.Record.read(folder).scores or {}
    if not scores.get("dev"):
        raise seqx.UserError(f"{folder}: has no score of the development set, which `seqx tune` needs")
    return next(iter(scores["dev"].items()))
