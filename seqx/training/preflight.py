"""Checks of a recipe before any text is read; `seqx check` and `seqx run` share them."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar, cast

from seqx.errors import Problem, RecipeError, UserError
from seqx.inference.loading import model_folder, model_problem
from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Model
from seqx.interfaces.scores import PERPLEXITY
from seqx.interfaces.task import Task
from seqx.parallel.parallelism import Step
from seqx.plugin.blame import construction_error
from seqx.plugin.registry import Make
from seqx.recipe import Configured, all_built_objects
from seqx.runtime.meta_device import meta_device
from seqx.training.compile import layers
from seqx.training.config import InitialModel, Training
from seqx.training.embeddings import embedding_problems
from seqx.training.finetuning import model_problems, optimizer_problems, vocabulary_problems
from seqx.training.freezing import freeze_problems
from seqx.training.packing import packing_problem


class ExperimentParts(Protocol):
    """The parts of an experiment that these checks read."""

    task: Task
    model: Make[Model]
    training: Training
    search: Search | None


D = TypeVar("D", bound=ExperimentParts)


def build_checked(recipe: Configured[D], *, begun: bool = False) -> D:
    """Build what a recipe describes, without reading its text.

    Args:
        recipe: the checked recipe
        begun: the run has begun, so it has a vocabulary already

    Raises:
        RecipeError: the recipe has problems; it lists all that can be found without reading whole files
    """
    objects: Sequence[tuple[Configured[object], object]] = ()
    try:
        with all_built_objects() as objects:
            experiment = recipe()
    except RecipeError as error:
        problems = [*error.problems, *_setting_problems(objects)]
        problems += _problems_of_model(recipe, objects, problems)
        raise RecipeError(problems) from error
    problems = [*_setting_problems(objects)]
    init = None if begun else experiment.training.initial_model
    init_problems = [] if init is None else [*_load_initial_vocabulary(recipe, experiment, init)]
    problems += init_problems
    cause = None
    try:
        with all_built_objects():
            model = model_without_weights(experiment.task, experiment.model)
    except UserError as error:
        cause = error
        if not init_problems:  # otherwise the missing vocabulary may be the reason
            problems += _build_problems(recipe, error, problems)
    else:
        problems += [
            recipe.problem(setting, message)
            for setting, message in _inconsistent_settings(recipe, experiment, model)
        ]
        if not begun:
            files = experiment.training.embeddings
            problems += [recipe.problem(*found) for found in embedding_problems(files, model)]
        if init is not None and not init_problems:
            problems += [
                *model_problems(recipe, model_folder(init.model), model),
                *freeze_problems(recipe, init, model),
                *optimizer_problems(recipe, init),
            ]
    if problems:
        raise RecipeError(list(dict.fromkeys(problems))) from cause
    return experiment


def _setting_problems(objects: Sequence[tuple[Configured[object], object]]) -> Iterator[Problem]:
    """Yield the problems that the method `setting_errors` of a component returns, if it has that method."""
    for configured, component in objects:
        method = getattr(component, "setting_errors", None)
        for setting, message in method() if method else ():
            yield configured.problem(setting, message)


def _problems_of_model(
    recipe: Configured[D], objects: Sequence[tuple[Configured[object], object]], reported: Sequence[Problem]
) -> Sequence[Problem]:
    """Return the further problems of a model whose experiment could not be built, if its task was built.

    With `training.init_from` there are none, because the vocabularies may have other sizes.
    """
    task = next((built for configured, built in objects if configured is recipe.settings["task"]), None)
    if task is None or recipe.sets("training.init_from"):
        return []
    try:
        with all_built_objects():
            model_without_weights(cast("Task", task), cast("Make[Model]", recipe.settings["model"]))
    except UserError as error:
        return _build_problems(recipe, error, reported)
    except Exception:  # noqa: BLE001  an error of a plugin; it is raised once the reported problems are solved
        return []
    return []


def model_without_weights(task: Task, make: Make[Model]) -> Model:
    """Build the model for a task, without memory for its weights.

    Raises:
        UserError: it cannot be built
    """
    try:
        with meta_device():
            model: Model = make(task.vocab_sizes)
    except RuntimeError as error:
        message = f"model: cannot be built with these sizes ({error}); change them"
        raise construction_error(error, message) from error
    return model


def count_parameters(experiment: ExperimentParts) -> int:
    """Return the number of parameters of the model of an experiment."""
    model = model_without_weights(experiment.task, experiment.model)
    return sum(parameter.numel() for parameter in model.parameters())


def _inconsistent_settings(
    recipe: Configured[D], experiment: ExperimentParts, model: Model
) -> Iterator[tuple[str, str]]:
    """Yield each setting that does not fit another one, with a message."""
    task, training = experiment.task, experiment.training
    if "dev" not in task.available:
        reason = "it needs a development set, which the corpus does not have; add one, or"
        if training.patience is not None:
            yield "training.patience", f"{reason} set patience: null"
        if training.order == "best":
            yield "training.select", f"{reason} set select: last"
    yield from _unsuitable_parts(recipe, experiment, model)
    yield from _unknown_scores(task, training)
    if training.compile and not layers(model):
        yield (
            "training.compile",
            "the model has no layers (`seqx.Layers`) to compile; set compile: false",
        )
    if training.packing and (problem := packing_problem(model, training.objective, task)):
        yield "training.packing", f"{problem}; set packing: null"
    yield from _unsuitable_strategy(recipe, training)
    try:
        training.optimizer.check(Step(model, training.objective))
    except UserError as error:
        yield "training.optimizer", str(error).removeprefix("training.optimizer: ")
    if task.resegments and model.limit is not None and (task.max_length or 0) > model.limit:
        longest = f"examples that are encoded again in each epoch may have {task.max_length}"
        advice = "raise the limit of its positional encoding, or lower the max_length of the task"
        yield (
            "model",
            f"the model reads and writes at most {model.limit} tokens, EOS included, but {longest}; {advice}",
        )


def _unsuitable_strategy(recipe: Configured[D], training: Training) -> Iterator[tuple[str, str]]:
    """Yield each setting that does not fit the strategy of `training.parallel`, with a message."""
    strategy = training.parallel
    if strategy is None:
        return
    if training.ema is not None and not strategy.model_is_current:
        message = (
            "a moving average needs all weights after each update, but with training.parallel: "
            f"{recipe.name_of('training.parallel')} the model has them only before validations and "
            "checkpoints; set ema: null, or parallel: ddp"
        )
        yield "training.ema", message
    if strategy.shards_parameters and not training.optimizer.shards:
        name = recipe.name_of("training.optimizer")
        advice = "choose another optimizer, or set parallel: ddp"
        yield "training.parallel", f"the optimizer {name} cannot update shards of parameters; {advice}"


def _unsuitable_parts(
    recipe: Configured[D], experiment: ExperimentParts, model: Model
) -> Iterator[tuple[str, str]]:
    """Yield a model or a search that the task cannot use, with a message."""
    task = experiment.task
    if problem := model_problem(task, model):
        yield "model", problem.removeprefix("model: ")
    name = recipe.name_of("task")
    if task.uses_search and experiment.search is None:
        yield (
            "search",
            f"it is missing; the task {name} uses a search: name one, as in search: {{type: beam}}",
        )
    if experiment.search is not None and not task.uses_search:
        yield "search", f"the task {name} does not use a search; remove this section, or set search: null"


def _unknown_scores(task: Task, training: Training) -> Iterator[tuple[str, str]]:
    """Yield the settings of `select` and `patience` that name an unknown score, with messages."""
    named = {
        "training.select.by": training.selection_score_name,
        "training.patience.by": training.early_stopping.by if training.early_stopping else None,
    }
    score_names = {setting: name for setting, name in named.items() if name not in (None, PERPLEXITY)}
    known = task.score_names() if score_names else None
    for setting, name in score_names.items():
        if known is not None and name not in known:
            names = ", ".join(known)
            yield setting, f"the task has no score {name!r}; use {names} or {PERPLEXITY}"


def _build_problems(
    recipe: Configured[D], error: UserError, reported: Sequence[Problem]
) -> Sequence[Problem]:
    """Return the reasons why the model cannot be built, unless they are those of a reported setting."""
    if isinstance(error, RecipeError):
        return error.problems
    if any(str(error) in problem.message for problem in reported):
        return []
    return [recipe.problem("model", str(error).removeprefix("model: "))]


def _load_initial_vocabulary(recipe: Configured[D], experiment: D, init: InitialModel) -> Iterator[Problem]:
    """Load the vocabulary of the model at `init_from`, or yield the reasons why that is impossible.

    It is not called for a run that has begun, which has its own vocabulary.
    """
    try:
        folder = model_folder(init.model)
        extends = init.vocabulary == "extend"
        different = [*vocabulary_problems(recipe, folder, extends=extends)]
        yield from different
        if not different:
            experiment.task.load(folder / "task")
    except UserError as error:
        yield recipe.problem("training.init_from", str(error))
