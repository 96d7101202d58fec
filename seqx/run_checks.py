"""Checks that a folder can be used for a run, and that a resumed run has the same recipe and plugins."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqx.errors import OtherRecipeError, UserError, unreadable
from seqx.interfaces.learning import Schedule
from seqx.plugin.loading import LOCAL_FOLDER, PLUGINS_FIELD, Plugins, changed_local_plugin
from seqx.recipe import (
    NOT_SET,
    Configured,
    differences,
    is_at_or_below,
    read_plain,
    unset_paths,
    with_new_names,
    yaml_tree,
)
from seqx.recipe.yaml_writer import dump
from seqx.storage.atomic import check_name
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import read_as
from seqx.storage.weights import WEIGHTS

WRITTEN_AFTER_RECIPE = ("origins.yaml", "environment.json")
"""Files that a run writes after its `recipe.yaml`; earlier versions of seqx wrote only the second one."""

CHANGEABLE_SETTINGS = (
    "callbacks",
    "published",
    "training.deterministic",
    "training.microbatch",
    "training.parallel",
    "training.patience",
    "training.max_rollbacks",
    "training.returns",  # the old name of max_rollbacks; digests of old recipes exclude it
    "training.sampling_processes",
    "training.save_minutes",
    "training.sharding",  # the old name of parallel
    "training.steps",
)
"""The settings that may change when a run resumes, because they do not affect the updates made before."""


def check_usable(folder: Path) -> None:
    """Refuse a folder with files that do not belong to a run: they could be overwritten or removed."""
    check_name(folder)
    if not folder.is_dir():
        if folder.exists():
            raise UserError(f"{folder}: is a file; choose another folder (--folder)")
        return
    if (folder / WEIGHTS).exists():
        raise UserError(f"{folder}: is the folder of a model; choose another folder (--folder) for the run")
    others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if others and not (folder / "recipe.yaml").is_file():
        raise UserError(
            f"{folder}: has no run, but other files ({min(others)}); choose another folder (--folder)"
        )


def check_disks(folder: Path, *names: str) -> None:
    """Refuse links to folders that do not exist: without its checkpoints, a run would begin again."""
    for link in (folder / name for name in names):
        if link.is_symlink() and not link.exists():
            raise UserError(
                f"{link}: is a link to a folder that does not exist; mount its disk, or remove the link"
            )


def check_recipe_is_of_run(folder: Path, recipe: Configured[Any], plugins: Plugins) -> None:
    """Refuse a `recipe.yaml` of the user in a folder without a run: the run would replace it."""
    file = folder / "recipe.yaml"
    if not file.is_file() or any((folder / name).exists() for name in WRITTEN_AFTER_RECIPE):
        return
    try:
        is_same = file.read_bytes() == recipe_text(recipe, plugins).encode()
    except OSError as error:
        raise unreadable(file, error) from None
    if not is_same:
        raise UserError(
            f"{folder}: has no run, but a recipe.yaml that a run would replace; choose another folder "
            "(--folder), or rename the recipe"
        )


def check_same_recipe(folder: Path, recipe: Configured[Any], plugins: Plugins) -> None:
    """Check that the recipe and that of the run in the folder differ only in `CHANGEABLE_SETTINGS`.

    Raises:
        OtherRecipeError: other settings differ
        UserError: the recipe of the run cannot be read
    """
    file = folder / "recipe.yaml"
    if not file.is_file():
        return
    pairs = differences(
        with_new_names(read_plain(file), recipe),
        yaml_tree.parse(recipe_text(recipe, plugins), str(file)).plain(),
    )
    # This version of seqx may have settings that the run's version lacked; their defaults change nothing.
    unset = tuple(unset_paths(recipe))
    different = [
        f"  {key}: {before} before, {now} now"
        for key, (before, now) in pairs.items()
        if not is_at_or_below(key, CHANGEABLE_SETTINGS)
        and not (before == NOT_SET and is_at_or_below(key, unset))
    ]
    if different:
        raise OtherRecipeError(
            f"{folder}: has a run of another recipe; choose another folder (--folder), or remove this one. "
            "Differences:\n" + "\n".join(different[:12])
        )


def check_steps(folder: Path, checkpoints: Checkpoints, steps: int) -> None:
    """Refuse a new `training.steps` that is smaller than the number of updates made so far."""
    checkpoints.check()
    saved = checkpoints.steps()
    if saved and saved[-1] > steps:
        raise UserError(
            f"{folder}: this run has made {saved[-1]} updates, more than training.steps={steps}; "
            f"set training.steps to {saved[-1]} or more, or choose another folder (--folder)"
        )


def check_same_plugins(folder: Path, checkpoints: Checkpoints, plugins: Plugins) -> None:
    """Refuse local plugins whose SHA-256 has changed since the run began."""
    file = folder / "environment.json"
    if not file.is_file() and not checkpoints.steps():
        return  # the run was stopped before it recorded its plugins
    if name := changed_plugin(folder, plugins):
        raise UserError(
            f"{folder}: {name} has changed since this run began; choose another folder (--folder) for a "
            "new run, restore its text, or resume with `seqx run --changed-plugins`"
        )


def changed_plugin(folder: Path, plugins: Plugins) -> str | None:
    """Return the key of the first local plugin that has changed since the run in `folder` began, or None."""
    recorded = read_as(PLUGINS_FIELD, folder / "environment.json")
    return changed_local_plugin(plugins, recorded.get("plugins", {}))


def check_learning_rates(folder: Path, schedule: Schedule, steps: int, done: int) -> None:
    """Refuse a new `training.steps` if it changes the learning rates of the updates made so far.

    Args:
        folder: the run folder
        schedule: the learning rates, which may depend on the number of steps
        steps: the new value of `training.steps`
        done: the number of updates made so far

    Raises:
        UserError: one of these updates would have another learning rate
    """
    file = folder / "recipe.yaml"
    before = training_section(file)["steps"] if file.is_file() else steps
    changed = (step for step in range(1, done + 1) if schedule(step, steps) != schedule(step, before))
    first = next(changed, None) if steps != before else None
    if first is not None:
        raise UserError(
            f"{folder}: this run has made {done} updates with training.steps={before}; "
            f"training.steps={steps} would change the learning rates from update {first} on; choose "
            f"another folder (--folder), or remove the checkpoints from step {first} on"
        )


def training_section(file: Path) -> Mapping[str, Any]:
    """Return the section `training` of a resolved recipe.

    Raises:
        UserError: the recipe cannot be read, or has no `training.steps`
    """
    training = read_plain(file).get("training")
    if not isinstance(training, dict) or not isinstance(training.get("steps"), int):
        raise UserError(f"{file}: cannot be read (it has no training.steps)")
    return training


def recipe_text(recipe: Configured[Any], plugins: Plugins) -> str:
    """Return the resolved recipe as YAML, with the paths of local plugins relative to the run folder."""
    local = [f"{LOCAL_FOLDER}/{file.name}" for file in local_files(plugins)]
    plain = {**({"plugins": local} if local else {}), **recipe.plain()}
    return dump(plain)


def local_files(plugins: Plugins) -> list[Path]:
    """Return the files of the local plugins."""
    return [Path(plugin.source) for plugin in plugins.loaded if plugin.sha256 is not None]
