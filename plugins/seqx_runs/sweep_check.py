"""Checks of all trials of a sweep before the first one starts."""

from collections.abc import Mapping
from typing import Any

import seqx
from seqx_runs.sweep_trials import Configuration, Sweep

_MAX_SHOWN = 5  # configurations with errors


def checked_recipes(sweep: Sweep) -> Mapping[Configuration, Mapping[str, Any]]:
    """Check the recipe of each configuration as `seqx check` does; return them with all defaults.

    Raises:
        UserError: some recipes have problems; the message names their trials
    """
    recipes: dict[Configuration, Mapping[str, Any]] = {}
    problems: list[str] = []
    for configuration in sweep.configurations:
        trial = sweep.of(configuration)[0]
        try:
            recipes[configuration] = seqx.resolved_recipe(
                configuration.recipe_file, configuration.profile, trial.overrides
            )
        except seqx.UserError as error:
            problems.append(f"trial {configuration}:\n{error}")
    if len(problems) > _MAX_SHOWN:
        problems = [*problems[:_MAX_SHOWN], f"and {len(problems) - _MAX_SHOWN} more trials"]
    if sweep.halving is not None:
        problems += _halving_problems(sweep, recipes)
    if problems:
        raise seqx.UserError("\n".join([f"{sweep.name}: no trial was started:", *problems]))
    return recipes


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
