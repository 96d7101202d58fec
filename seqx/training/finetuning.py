"""Start a run from another model: with its vocabulary and its weights."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqx.errors import DamagedError, Problem, UserError
from seqx.interfaces.networks import Model
from seqx.interfaces.text import Normalizer
from seqx.plugin.registry import settings_of
from seqx.recipe import Configured, Fixed, differences, names_interface, read_plain, with_new_names
from seqx.storage.safetensors_header import check_fits, read_header
from seqx.storage.weights import WEIGHTS, read_weights


def vocabulary_problems(made: Configured[Any], first: Path) -> Sequence[Problem]:
    """Find settings that do not fit the vocabulary of the model `first`."""
    ours, theirs = _task(made), _plain(first, made).get("task")
    fixed = Fixed(f"{first} (training.init_from)", ", or leave training.init_from out")
    problems = list(fixed.problems(ours, theirs))
    task, other = (each.get("type") if isinstance(each, dict) else each for each in (ours.plain(), theirs))
    if problems and task != other:
        said = f"the model in {first} is of the task {other}, and its vocabulary does not fit the task {task}"
        return [made.problem("training.init_from", f"{said}; name a model of the task {task}")]
    return problems


def model_problems(made: Configured[Any], first: Path, model: Model) -> Iterator[Problem]:
    """Find that the weights of the model `first` do not fit `model`, which may be built without memory."""
    try:
        check_fits(model, read_header(first / WEIGHTS), first / WEIGHTS)
    except UserError as error:
        yield made.problem("training.init_from", str(_explained(error, made, first)))


def load_initial_weights(first: Path, model: Model, made: Configured[Any]) -> None:
    """Load the weights of the model `first` into a model.

    Raises:
        UserError: `first` has other sizes or parts
    """
    try:
        read_weights(model, first / WEIGHTS)
    except UserError as error:
        raise UserError(f"training.init_from: {_explained(error, made, first)}") from None


def _explained(error: UserError, made: Configured[Any], first: Path) -> UserError:
    """Name the settings of the model that differ, if there are any, instead of the tensors."""
    different = differences({"model": _plain(first, made).get("model")}, {"model": made.plain()["model"]})
    if isinstance(error, DamagedError) or not different:
        return error
    return UserError(
        f"the model in {first} has other sizes or parts than this recipe's; make these settings the same:\n"
        + "\n".join(f"  {key}: {before} there, {now} here" for key, (before, now) in different.items())
    )


def initial_model_warnings(first: Path | None, made: Configured[Any]) -> Iterator[str]:
    """Yield a line about settings that differ from those that the weights of `first` were trained with."""
    if first is None:
        return
    theirs, ours = _plain(first, made), made.plain()
    different = differences({"model": theirs.get("model")}, {"model": ours["model"]})
    for name, setting in settings_of(_task(made).maker).items():
        pair = theirs["task"].get(name, []), ours["task"].get(name, [])
        if names_interface(setting.annotation, Normalizer) and pair[0] != pair[1]:
            different[f"task.{name}"] = pair
    if different:
        said = "; ".join(f"{key}: {one} there, {other} here" for key, (one, other) in different.items())
        yield f"training.init_from: the weights of {first} were trained with other settings: {said}"


def _task(made: Configured[Any]) -> Configured[Any]:
    task = made.settings["task"]
    assert isinstance(task, Configured), "a task is a component"
    return task


def _plain(first: Path, made: Configured[Any]) -> dict[str, Any]:
    found: dict[str, Any] = with_new_names(read_plain(first / "recipe.yaml"), made)
    return found
