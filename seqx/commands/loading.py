"""Load and check the recipe that is an argument of a command."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqx.errors import Problem, RecipeError
from seqx.plugin.loading import PLUGINS_FIELD, Plugins, load_plugins
from seqx.recipe import Configured, Recipe, check, load
from seqx.run_folder import LINK_CHECKED, RunFolder
from seqx.storage.atomic import check_links
from seqx.storage.json_format import read_as
from seqx.storage.weights import WEIGHTS
from seqx.training import description
from seqx.training.preflight import build_checked


@dataclass(frozen=True)
class CheckedRecipe:
    """A recipe without problems, its components, and the plugins that define them."""

    recipe: Recipe
    plugins: Plugins
    configured: Configured[description.Experiment]


def load_checked_run(folder: Path, *, trust_local_plugins: bool) -> CheckedRecipe:
    """Load and check the recipe of a run folder, which is not trusted.

    Args:
        folder: the run folder
        trust_local_plugins: run its local plugins, if they have the hashes that the run recorded

    Raises:
        UserError: the recipe has problems, or a local plugin is not trusted or has changed
    """
    check_links(folder, *LINK_CHECKED)
    recipe = load(folder / "recipe.yaml", local_plugins=trust_local_plugins, self_contained=True)
    recorded = read_as(PLUGINS_FIELD, folder / "environment.json").get("plugins", {})
    plugins = load_plugins(recipe.plugins, recorded=recorded)
    return CheckedRecipe(recipe, plugins, check(recipe.tree, plugins.registry, description.Experiment))


def load_checked(argument: str, profile: str | None = None, overrides: Iterable[str] = ()) -> CheckedRecipe:
    """Load the recipe that a user names, with its plugins, and check it.

    Args:
        argument: a file, or the name of a recipe of seqx
        profile: the profile to apply
        overrides: settings as KEY=VALUE

    Raises:
        RecipeError: the recipe has problems
    """
    problems: list[Problem] = []
    recipe, plugins = load_with_plugins(argument, profile, overrides, problems)
    configured = check(recipe.tree, plugins.registry, description.Experiment, problems)
    return CheckedRecipe(recipe, plugins, configured)


def is_finished(folder: Path, checked: CheckedRecipe) -> bool:
    """Return true if a folder has the finished run of a recipe, so that `seqx run` would not train.

    Args:
        folder: the run folder
        checked: the recipe; it may require more updates than the run made, and then the run is not finished

    Raises:
        OtherRecipeError: the folder has a run of another recipe
        UserError: `seqx run` would refuse the folder for another reason
    """
    return RunFolder(folder).checked_final_scores(checked.configured, checked.plugins) is not None


def resolved_recipe(
    argument: str,
    profile: str | None = None,
    overrides: Iterable[str] = (),
    *,
    warn: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Check a recipe as `seqx check` does, and return it with all defaults, as plain values.

    Args:
        argument: a file, or the name of a recipe of seqx
        profile: the profile to apply
        overrides: settings as KEY=VALUE
        warn: called with the warning of `seqx check`, if there is one

    Raises:
        RecipeError: the recipe has problems
    """
    configured = load_checked(argument, profile, overrides).configured
    if warning := build_checked(configured).training.schedule_warning():
        warn(warning)
    plain: dict[str, Any] = configured.plain()
    return plain


def load_with_plugins(
    argument: str,
    profile: str | None = None,
    overrides: Iterable[str] = (),
    problems: list[Problem] | None = None,
) -> tuple[Recipe, Plugins]:
    """Load a recipe, the installed plugins and its local plugins.

    Local plugins of a model folder are never run, because the folder may come from somebody else.

    Args:
        argument: a file, or the name of a recipe of seqx
        profile: the profile to apply
        overrides: settings as KEY=VALUE
        problems: the problems of the recipe are appended to it, see `seqx.recipe.load`; None: raise them

    Raises:
        RecipeError: the recipe has problems, or it has local plugins and lies in a model folder
    """
    in_model_folder = (Path(argument).parent / WEIGHTS).is_file()
    if in_model_folder:
        check_links(Path(argument).parent)
    recipe = load(argument, profile, overrides, problems=problems, self_contained=in_model_folder)
    if in_model_folder and recipe.plugins:
        message = (
            "the recipe of this model has local plugins, which are not run from a model's folder; read them, "
            "then copy the recipe and its plugins to another folder"
        )
        raise RecipeError([*(problems or []), *(Problem(at, message) for at in recipe.plugins.values())])
    return recipe, load_plugins(recipe.plugins)
