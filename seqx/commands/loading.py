"""Load and check the recipe that is an argument of a command."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from seqx.errors import Problem, RecipeError
from seqx.plugin.loading import MADE_WITH, Plugins, load_plugins
from seqx.recipe import Configured, Recipe, check, load
from seqx.run_folder import LINK_CHECKED
from seqx.storage.atomic import check_links
from seqx.storage.json_format import read_as
from seqx.storage.weights import WEIGHTS
from seqx.training import description


@dataclass(frozen=True)
class CheckedRecipe:
    """A recipe without problems, and the plugins that it was checked against."""

    recipe: Recipe
    plugins: Plugins
    made: Configured[description.Experiment]


def load_checked_run(folder: Path, *, trust_local_plugins: bool) -> CheckedRecipe:
    """Load and check the recipe of a run's folder, which may come from somebody else.

    Args:
        folder: the folder of the run, with its local plugins, which must have their recorded hashes
        trust_local_plugins: run the local plugins
    """
    check_links(folder, *LINK_CHECKED)
    recipe = load(folder / "recipe.yaml", local_plugins=trust_local_plugins, whole=True)
    recorded = read_as(MADE_WITH, folder / "environment.json").get("plugins", {})
    plugins = load_plugins(recipe.plugins, kept=recorded)
    return CheckedRecipe(recipe, plugins, check(recipe.tree, plugins.registry, description.Experiment))


def load_checked(argument: str, profile: str | None = None, overrides: Iterable[str] = ()) -> CheckedRecipe:
    """Load the recipe that a user names, and its plugins, and check it."""
    problems: list[Problem] = []
    recipe, plugins = load_with_plugins(argument, profile, overrides, problems)
    made = check(recipe.tree, plugins.registry, description.Experiment, problems)
    return CheckedRecipe(recipe, plugins, made)


def load_with_plugins(
    argument: str,
    profile: str | None = None,
    overrides: Iterable[str] = (),
    problems: list[Problem] | None = None,
) -> tuple[Recipe, Plugins]:
    """Load a recipe and all plugins, its local ones included; `problems`: see `seqx.recipe.load`."""
    is_of_model = (Path(argument).parent / WEIGHTS).is_file()
    if is_of_model:
        check_links(Path(argument).parent)
    recipe = load(argument, profile, overrides, problems=problems, whole=is_of_model)
    if is_of_model and recipe.plugins:
        message = (
            "the recipe of this model has local plugins, which are not run from a model's folder; read them, "
            "then copy the recipe and its plugins to another folder"
        )
        raise RecipeError([*(problems or []), *(Problem(at, message) for at in recipe.plugins.values())])
    return recipe, load_plugins(recipe.plugins)
