"""From a command's arguments to a checked recipe."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from seqx import experiment
from seqx.errors import Problem, RecipeError
from seqx.plugin.loading import MADE_WITH, Plugins, load_plugins
from seqx.recipe import Configured, Recipe, check, load
from seqx.run_folder import OPENED
from seqx.storage.atomic import check_links
from seqx.storage.json_format import read_as
from seqx.storage.weights import WEIGHTS

profile = click.option("--profile", "-p", metavar="NAME", help="Lay one of the recipe's profiles over it.")


@dataclass(frozen=True)
class Opened:
    """A recipe that has no problem, with the plugins that it was checked against."""

    recipe: Recipe
    plugins: Plugins
    made: Configured[experiment.Experiment]


def opened_of_run(folder: Path, *, trust: bool) -> Opened:
    """The recipe of a run's folder, which may be a stranger's: its plugins lie there, and are what they were.

    `trust`: run them.
    """
    check_links(folder, *OPENED)
    read = load(folder / "recipe.yaml", local_plugins=trust, whole=True)
    kept = read_as(MADE_WITH, folder / "environment.json").get("plugins", {})
    found = load_plugins(read.plugins, kept=kept)
    return Opened(read, found, check(read.tree, found.registry, experiment.Experiment))


def opened(argument: str, profile: str | None = None, overrides: Iterable[str] = ()) -> Opened:
    """Read the recipe that is the command's own argument, load the plugins and check it."""
    problems: list[Problem] = []
    read, found = with_plugins(argument, profile, overrides, problems)
    return Opened(read, found, check(read.tree, found.registry, experiment.Experiment, problems))


def with_plugins(
    argument: str,
    profile: str | None = None,
    overrides: Iterable[str] = (),
    problems: list[Problem] | None = None,
) -> tuple[Recipe, Plugins]:
    """Read a recipe and load the plugins, its local ones, too; `problems`: see `seqx.recipe.load`."""
    of_model = (Path(argument).parent / WEIGHTS).is_file()
    if of_model:
        check_links(Path(argument).parent)
    read = load(argument, profile, overrides, problems=problems, whole=of_model)
    if of_model:
        message = (
            "the recipe of a model brings code of its own, which is not run from there; read it, then copy "
            "the recipe and its plugins out of the model's folder"
        )
        if read.plugins:
            raise RecipeError([*(problems or []), *(Problem(at, message) for at in read.plugins.values())])
    return read, load_plugins(read.plugins)
