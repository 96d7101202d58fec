"""Checks of a recipe before any text is read; `seqx check` and `seqx run` share them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from seqx.errors import Problem, RecipeError, UserError
from seqx.inference.loading import model_folder
from seqx.interfaces.networks import Model
from seqx.interfaces.scores import PERPLEXITY
from seqx.interfaces.task import Task
from seqx.parallel.strategy import Step
from seqx.plugin.registry import Make
from seqx.recipe import Configured, building
from seqx.training.compile import layers
from seqx.training.config import Training
from seqx.training.finetuning import model_problems, vocabulary_problems


class Described(Protocol):
    """The parts of an experiment that are checked."""

    task: Task
    model: Make[Model]
    training: Training


D = TypeVar("D", bound=Described)


def build_checked(made: Configured[D], *, begun: bool = False) -> D:
    """Build what a recipe describes, without reading its text.

    Args:
        made: the checked recipe
        begun: true if the run has begun, so that it has a vocabulary

    Raises:
        RecipeError: with all problems that can be found without reading whole files, each with its place
    """
    with building() as built:
        found = made()
    problems = [part.problem(setting, said) for part, thing in built for setting, said in _problems(thing)]
    init = found.training.init_from
    start = [] if init is None else [*_load_first_vocabulary(made, found, init, begun=begun)]
    problems += start
    try:
        model = model_without_weights(found)
    except UserError as error:
        if not start:  # otherwise the missing vocabulary may be the reason
            problems += _unbuilt(made, error)
    else:
        problems += [made.problem(setting, said) for setting, said in _inconsistent_settings(found, model)]
        if init is not None and not (begun or start):
            problems += model_problems(made, model_folder(init), model)
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    return found


def model_without_weights(experiment: Described) -> Model:
    """Build the model of an experiment without memory for its weights.

    Raises:
        UserError: it cannot be built
    """
    try:
        with torch.device("meta"):
            model: Model = experiment.model(experiment.task.vocab_sizes)
    except RuntimeError as error:
        raise UserError(f"model: cannot be built with these sizes ({error})") from None
    return model


def count_parameters(experiment: Described) -> int:
    """Return the number of parameters of the model of an experiment."""
    return sum(parameter.numel() for parameter in model_without_weights(experiment).parameters())


def _problems(thing: object) -> Iterator[tuple[str, str]]:
    """Return the problems of a component, if its kind has the method `setting_errors`."""
    find = getattr(thing, "setting_errors", None)
    if find is not None:
        yield from find()


def _inconsistent_settings(experiment: Described, model: Model) -> Iterator[tuple[str, str]]:
    """Yield the settings that do not fit each other, and why."""
    task, how = experiment.task, experiment.training
    if "dev" not in task.available:
        why = "it needs a development set, which the corpus does not have; add one, or"
        if how.patience is not None:
            yield "training.patience", f"{why} set patience: null"
        if how.order == "best":
            yield "training.select", f"{why} set select: last"
    yield from _unknown_figures(task, how)
    if how.compile and not layers(model):
        yield (
            "training.compile",
            "it compiles layers (`seqx.Layers`), of which the model has none; set it to false",
        )
    if how.sharding != "none" and not how.optimizer.shards:
        name = type(how.optimizer).__name__
        yield (
            "training.sharding",
            f"{name} cannot update shards of parameters; take another optimizer, or set sharding: none",
        )
    try:
        how.optimizer.build(Step(model, how.objective))
    except UserError as error:
        yield "training.optimizer", str(error).removeprefix("training.optimizer: ")
    if task.resegments and model.limit is not None and (task.max_length or 0) > model.limit:
        why = f"at most {model.limit} tokens, EOS counted, but examples that are encoded anew in each epoch"
        advice = "raise the limit of its positions, or let the task leave out long examples"
        yield "model", f"the model reads and writes {why} may have {task.max_length}; {advice}"


def _unknown_figures(task: Task, how: Training) -> Iterator[tuple[str, str]]:
    """Find the names in `select` and `patience` that are not scores of the task."""
    named = {
        "training.select.by": how.figure,
        "training.patience.by": how.patient.by if how.patient else None,
    }
    wanted = {setting: name for setting, name in named.items() if name not in (None, PERPLEXITY)}
    known = task.score_names() if wanted else None
    for setting, name in wanted.items():
        if known is not None and name not in known:
            names = ", ".join(known)
            yield setting, f"the task gives no score called {name!r}; name {names} or {PERPLEXITY}"


def _unbuilt(made: Configured[D], error: UserError) -> Sequence[Problem]:
    """Return the reasons why the model cannot be built."""
    if isinstance(error, RecipeError):
        return error.problems
    return [made.problem("model", str(error).removeprefix("model: "))]


def _load_first_vocabulary(
    made: Configured[D], experiment: D, init: Path, *, begun: bool
) -> Iterator[Problem]:
    """Load the vocabulary of the model at `init_from`, or yield the reasons why that is impossible.

    A run that has begun keeps its own vocabulary.
    """
    try:
        first = model_folder(init)
        different = [] if begun else [*vocabulary_problems(made, first)]
        yield from different
        if not (begun or different):
            experiment.task.load(first / "task")
    except UserError as error:
        yield made.problem("training.init_from", str(error))
