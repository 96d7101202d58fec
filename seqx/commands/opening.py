"""From a command's arguments to a checked recipe."""

from collections.abc import Iterable
from dataclasses import dataclass

import click

from seqx import experiment, plugins, recipe

profile = click.option("--profile", "-p", metavar="NAME", help="Lay one of the recipe's profiles over it.")


@dataclass(frozen=True)
class Opened:
    """A recipe that has no problem, with the plugins that it was checked against."""

    recipe: recipe.Recipe
    plugins: plugins.Plugins
    made: recipe.Made[experiment.Experiment]


def opened(argument: str, profile: str | None = None, overrides: Iterable[str] = ()) -> Opened:
    """Read the recipe that is the command's own argument, load the plugins and check it."""
    read = recipe.load(argument, profile, overrides)
    found = plugins.load(read.plugins)
    return Opened(read, found, recipe.check(read.tree, found.registry, experiment.Experiment))
