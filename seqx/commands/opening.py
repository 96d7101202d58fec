"""From a command's arguments to a checked recipe."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from seqx.experiment import Experiment
from seqx.plugins import Plugins
from seqx.plugins import load as load_plugins
from seqx.recipe import Made, Recipe, check
from seqx.recipe import load as load_recipe

profile = click.option("--profile", "-p", metavar="NAME", help="Lay one of the recipe's profiles over it.")


@dataclass(frozen=True)
class Opened:
    """A recipe that has no problem, with the plugins that it was checked against."""

    recipe: Recipe
    plugins: Plugins
    made: Made[Experiment]


def opened(recipe: str | Path, profile: str | None = None, overrides: Iterable[str] = ()) -> Opened:
    """Read a recipe that is the command's own argument, load the plugins and check it."""
    read = load_recipe(recipe, profile, overrides)
    plugins = load_plugins(read.plugins)
    return Opened(read, plugins, check(read.tree, plugins.registry, Experiment))
