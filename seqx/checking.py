"""What a run would refuse, found before any text is read: the same for `seqx check` and `seqx run`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from seqx.errors import Problem, RecipeError, UserError
from seqx.evaluation.loading import model_folder
from seqx.finetuning import model_problems, vocabulary_problems
from seqx.interfaces.figures import PERPLEXITY
from seqx.interfaces.networks import Model
from seqx.interfaces.text import Task
from seqx.recipe import Made, building
from seqx.registry import Make
from seqx.training.compiling import layers
from seqx.training.settings import Training
from seqx.training.step import Step


class Described(Protocol):
    """What is looked at of an experiment."""

    task: Task
    model: Make[Model]
    training: Training


D = TypeVar("D", bound=Described)


def examined(made: Made[D], *, begun: bool = False) -> D:
    """Build what a recipe describes; its text may still be unknown.

    Args:
        made: the checked recipe
        begun: whether the run has begun, and has its vocabulary

    Raises:
        RecipeError: every problem that shows without reading whole files, each with its place
    """
    with building() as built:
        found = made()
    problems = [part.problem(setting, said) for part, thing in built for setting, said in _problems(thing)]
    init = found.training.init
    start = [] if init is None else [*_start_problems(made, found, init, begun=begun)]
    problems += start
    try:
        model = shell(found)
    except UserError as error:
        if not start:  # else it may be for lack of the right vocabulary
            problems += _unbuilt(made, error)
    else:
        problems += [made.problem(setting, said) for setting, said in _at_odds(found, model)]
        if init is not None and not (begun or start):
            problems += model_problems(made, model_folder(init), model)
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    return found


def shell(experiment: Described) -> Model:
    """The model of an experiment, built without memory for its weights.

    Raises:
        UserError: it cannot be built
    """
    try:
        with torch.device("meta"):
            model: Model = experiment.model(experiment.task.sizes)
    except RuntimeError as error:
        raise UserError(f"model: it cannot be built in these sizes ({error})") from None
    return model


def _problems(thing: object) -> Iterator[tuple[str, str]]:
    """Ask a component for its problems, if it is of a kind that knows any."""
    find = getattr(thing, "problems", None)
    if find is not None:
        yield from find()


def _at_odds(experiment: Described, model: Model) -> Iterator[tuple[str, str]]:
    """Settings that do not go together, and why."""
    task, how = experiment.task, experiment.training
    if "dev" not in task.available:
        why = "the corpus has no development set, by whose score that goes; give it one, or"
        if how.patience is not None:
            yield "training.patience", f"{why} set patience: null"
        if how.order == "best":
            yield "training.choose", f"{why} set choose: last"
    yield from _unknown_figures(task, how)
    if how.compile and not layers(model):
        yield (
            "training.compile",
            "it compiles layers (`seqx.Layers`), of which the model has none; set it to false",
        )
    if how.sharding != "none" and not how.optimizer.shards:
        name = type(how.optimizer).__name__
        yield "training.sharding", f"{name} cannot step on shards; take another optimizer, or none"
    try:
        how.optimizer.build(Step(model, how.objective))
    except UserError as error:
        yield "training.optimizer", str(error).removeprefix("training.optimizer: ")
    if task.stochastic and model.limit is not None and (task.longest or 0) > model.limit:
        why = f"at most {model.limit} tokens, EOS counted, but examples that are encoded anew in each epoch"
        advice = "raise the limit of its positions, or let the task leave out long examples"
        yield "model", f"the model reads and writes {why} may have {task.longest}; {advice}"


def _unknown_figures(task: Task, how: Training) -> Iterator[tuple[str, str]]:
    """Find what is to compare models and is no score that the task gives."""
    named = {
        "training.choose.by": how.figure,
        "training.patience.by": how.patient.by if how.patient else None,
    }
    wanted = {setting: name for setting, name in named.items() if name not in (None, PERPLEXITY)}
    known = task.score_names() if wanted else None
    for setting, name in wanted.items():
        if known is not None and name not in known:
            names = ", ".join(known)
            yield setting, f"the task gives no score called {name!r}; name {names} or {PERPLEXITY}"


def _unbuilt(made: Made[D], error: UserError) -> Sequence[Problem]:
    """Say why the model cannot be built."""
    if isinstance(error, RecipeError):
        return error.problems
    return [made.problem("model", str(error).removeprefix("model: "))]


def _start_problems(made: Made[D], experiment: D, init: Path, *, begun: bool) -> Iterator[Problem]:
    """Give the task the vocabulary of the model at `init`, or say what prevents that.

    A run that has begun keeps its own.
    """
    try:
        first = model_folder(init)
        different = [] if begun else [*vocabulary_problems(made, first)]
        yield from different
        if not (begun or different):
            experiment.task.load(first / "task")
    except UserError as error:
        yield made.problem("training.init", str(error))
