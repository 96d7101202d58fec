"""Checks of all trials of a sweep before the first one starts."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import seqx
from seqx_runs.sweep_state import TrialState
from seqx_runs.sweep_trials import Configuration, Sweep

_MAX_SHOWN = 5  # problems
_REPORT_S = 3.0  # between two lines about the progress


def checked_recipes(
    sweep: Sweep, report: Callable[[str], object] = lambda _: None
) -> Mapping[Configuration, Mapping[str, Any]]:
    """Check the recipe of each configuration as `seqx check` does; return them with all defaults.

    Args:
        sweep: the sweep
        report: called with a line about the progress every few seconds, and with the warnings

    Raises:
        UserError: some recipes have problems; the message names their trials
    """
    recipes: dict[Configuration, Mapping[str, Any]] = {}
    by_problem: dict[str, list[Configuration]] = {}
    by_warning: dict[str, list[Configuration]] = {}
    reported = time.monotonic()
    for number, configuration in enumerate(sweep.configurations):
        if time.monotonic() - reported >= _REPORT_S:
            reported = time.monotonic()
            report(f"{sweep.name}: checked {number:,} of {len(sweep.configurations):,} configurations")
        trial, warnings = sweep.of(configuration)[0], list[str]()
        try:
            recipes[configuration] = seqx.resolved_recipe(
                configuration.recipe_file,
                configuration.profile,
                trial.overrides,
                warn=warnings.append,
            )
        except seqx.UserError as error:
            by_problem.setdefault(str(error), []).append(configuration)
        for text in warnings:
            by_warning.setdefault(text, []).append(configuration)
    problems = [f"{_named(found, sweep)}:\n{text}" for text, found in by_problem.items()]
    if len(problems) > _MAX_SHOWN:
        problems = [*problems[:_MAX_SHOWN], f"and {len(problems) - _MAX_SHOWN} more problems"]
    if sweep.halving is not None:
        problems += _halving_problems(sweep, recipes)
    if problems:
        raise seqx.UserError("\n".join([f"{sweep.name}: no trial was started:", *problems]))
    for text, found in by_warning.items():
        report(f"{sweep.name}: {_named(found, sweep)}: {text}")
    return recipes


def check_folders(sweep: Sweep) -> None:
    """Check that no trial has a run of another recipe in its folder.

    The name of a run folder depends only on the name of the recipe and on settings of the sweep.

    Raises:
        OtherRecipeError: the recipe was edited after the run began, or the folder has the trials of another
            recipe
    """
    for trial in sweep.trials:
        TrialState.read(trial)


def _named(configurations: Sequence[Configuration], sweep: Sweep) -> str:
    """Return a text that names the configurations with the same problem."""
    if len(configurations) > 1 and len(configurations) == len(sweep.configurations):
        return "all trials"
    others = f" and {len(configurations) - 1} more" if len(configurations) > 1 else ""
    return f"trial {configurations[0]}{others}"


def _halving_problems(sweep: Sweep, recipes: Mapping[Configuration, Mapping[str, Any]]) -> list[str]:
    """Return a message if trials do not record the scores that successive halving compares."""
    assert sweep.halving is not None
    steps = sweep.halving.steps
    for configuration, recipe in recipes.items():
        every, callbacks = recipe["training"]["validate_every"], recipe.get("callbacks") or []
        if not any(callback.get("type") == "metrics" for callback in callbacks):
            return [f"trial {configuration}: `halving` needs the callback metrics; add it to callbacks"]
        if every > steps:
            problem = (
                f"`halving` compares trials after {steps} updates, but training.validate_every is {every}"
            )
            return [f"trial {configuration}: {problem}; set it to {steps} or less"]
    return []
