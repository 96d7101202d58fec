"""Start a run from another model: with its vocabulary and its weights."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from seqx.errors import DamagedError, Problem, UserError
from seqx.inference.loading import model_folder
from seqx.interfaces.networks import Model
from seqx.interfaces.text import Normalizer
from seqx.plugin.registry import settings_of
from seqx.recipe import (
    NOT_SET,
    Configured,
    VocabularySettings,
    differences,
    is_at_or_below,
    names_interface,
    read_plain,
    unset_paths,
    with_new_names,
)
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.safetensors_header import check_fits, read_header
from seqx.storage.weights import WEIGHTS, read_tensors, read_weights
from seqx.training.config import InitialModel


def vocabulary_problems(
    recipe: Configured[Any], initial: Path, *, extends: bool = False
) -> Sequence[Problem]:
    """Return the problems of settings that do not fit the vocabulary of the model in `initial`."""
    ours, theirs = _task(recipe), _initial_recipe(initial, recipe).get("task")
    fixed = VocabularySettings(
        f"{initial} (training.init_from)", ", or leave training.init_from out", extends=extends
    )
    problems = list(fixed.problems(ours, theirs))
    task, other = (each.get("type") if isinstance(each, dict) else each for each in (ours.plain(), theirs))
    if problems and task != other:
        message = (
            f"the model in {initial} was trained for the task {other}, and its vocabulary does not fit the "
            f"task {task}"
        )
        return [recipe.problem("training.init_from", f"{message}; name a model of the task {task}")]
    return problems


def model_problems(recipe: Configured[Any], initial: Path, model: Model) -> Iterator[Problem]:
    """Yield a problem if the weights in `initial` do not fit `model`, which may be on the meta device."""
    try:
        check_fits(model, read_header(initial / WEIGHTS), initial / WEIGHTS)
    except UserError as error:
        yield recipe.problem("training.init_from", str(_error_with_settings(error, recipe, initial)))


ADDS_NOTHING = (
    "training.init_from.vocabulary: extend adds nothing, because the model's vocabulary has all symbols of "
    "this recipe; list new ones in the settings of the tokenizer (`symbols` of sentencepiece), which splits "
    "other words into known symbols"
)
"""The note about a vocabulary that should be extended, and was not."""


def load_initial_weights(
    initial: Path, model: Model, recipe: Configured[Any], *, extended: Mapping[str, int]
) -> list[str]:
    """Load the weights of the model in the folder `initial` into `model`; return notes for the user.

    Args:
        initial: the folder of the initial model
        model: the model, with random weights
        recipe: the checked recipe of the run
        extended: the vocabulary sizes of `model` if its vocabulary was extended; else empty. New rows keep
            their random values

    Raises:
        UserError: the models have different sizes or parts
    """
    try:
        if not extended:
            read_weights(model, initial / WEIGHTS)
            return []
        has_new_rows = _read_extended_weights(model, initial / WEIGHTS, {*extended.values()})
    except UserError as error:
        raise UserError(f"training.init_from: {_error_with_settings(error, recipe, initial)}") from None
    return [] if has_new_rows else [f"{ADDS_NOTHING} ({initial})"]


def _read_extended_weights(model: Model, file: Path, sizes: Collection[int]) -> bool:
    """Load weights into a model that may have more rows in each dimension whose size is in `sizes`.

    Returns:
        true if a tensor of the model has more rows
    """
    expected = model.state_dict(keep_vars=True)
    header, has_new_rows = {}, False
    for name, info in read_header(file).items():
        shape = expected[name].shape if name in expected else ()
        grows = len(shape) == len(info.shape) and all(
            now == before or (now > before and now in sizes)
            for now, before in zip(shape, info.shape, strict=True)
        )
        header[name] = info._replace(shape=tuple(shape)) if grows else info
        has_new_rows |= header[name] != info
    check_fits(model, header, file)
    with torch.no_grad():
        for name, tensor in read_tensors(file).items():
            if name in expected:
                expected[name][tuple(map(slice, tensor.shape))].copy_(tensor)
    return has_new_rows


def optimizer_problems(recipe: Configured[Any], initial: InitialModel) -> Iterator[Problem]:
    """Yield a problem if the state of the optimizer is needed, and the run of the initial model has none."""
    if not initial.reset_optimizer:
        try:
            optimizer_checkpoint(initial.model)
        except UserError as error:
            yield recipe.problem("training.init_from.reset_optimizer", str(error))


def optimizer_checkpoint(model: Path) -> Path:
    """Return the newest checkpoint of the run of a model, which holds the state of the optimizer.

    Raises:
        UserError: there is none
    """
    run = model_folder(model).parent
    checkpoints = Checkpoints(run / "checkpoints")
    if not (steps := checkpoints.steps()):
        raise UserError(
            f"{run}: has no checkpoints, which hold the state of the optimizer; set reset_optimizer: true"
        )
    return checkpoints.path(steps[-1])


def _error_with_settings(error: UserError, recipe: Configured[Any], initial: Path) -> UserError:
    """Return an error that lists the settings in which the models differ; `error` itself if none differ."""
    different = differences(
        {"model": _initial_recipe(initial, recipe).get("model")}, {"model": recipe.plain()["model"]}
    )
    if isinstance(error, DamagedError):
        return DamagedError(f"{error}; copy the model again, or name another one")
    if not different:
        return error
    return UserError(
        f"the model in {initial} has other sizes or parts than that of this recipe; make these settings "
        "equal:\n" + "\n".join(f"  {setting}" for setting in _list_differences(different))
    )


def initial_model_warnings(initial: Path | None, recipe: Configured[Any]) -> Iterator[str]:
    """Yield a warning about settings that differ from those with which `initial` was trained."""
    if initial is None:
        return
    theirs, ours = _initial_recipe(initial, recipe), recipe.plain()
    # A recipe that was not written by a run has no defaults.
    unset = tuple(unset_paths(recipe))
    different = {
        key: values
        for key, values in differences({"model": theirs.get("model")}, {"model": ours["model"]}).items()
        if not (values[0] == NOT_SET and is_at_or_below(key, unset))
    }
    for name, setting in settings_of(_task(recipe).maker).items():
        values = theirs["task"].get(name, []), ours["task"].get(name, [])
        if names_interface(setting.annotation, Normalizer) and values[0] != values[1]:
            different[f"task.{name}"] = values
    if different:
        listed = "; ".join(_list_differences(different))
        yield (
            f"training.init_from: the weights of {initial} were trained with other settings ({listed}); make "
            "them equal, unless the change is intended"
        )


def _list_differences(different: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    for key, (before, now) in different.items():
        yield f"{key}: {before} in the model, {now} in this recipe"


def _task(recipe: Configured[Any]) -> Configured[Any]:
    task = recipe.settings["task"]
    assert isinstance(task, Configured), "a task is a component"
    return task


def _initial_recipe(initial: Path, recipe: Configured[Any]) -> dict[str, Any]:
    plain: dict[str, Any] = with_new_names(read_plain(initial / "recipe.yaml"), recipe)
    return plain
