"""Loads a model folder into a `Predictor`."""

import filecmp
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from seqx import recipe
from seqx.errors import Problem, RecipeError, UserError
from seqx.inference.predictor import Predictor
from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Ensemble, Model
from seqx.interfaces.text import Task
from seqx.plugin.loading import MADE_WITH, Kept, Plugins, load_plugins
from seqx.plugin.registry import Make, Registry
from seqx.recipe.yaml_tree import Node
from seqx.runtime import cpu_threads
from seqx.runtime.devices import Precision, device_of, precision_of
from seqx.storage.atomic import check_links, check_name
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import read_as
from seqx.storage.model_folder import check_model
from seqx.storage.safetensors_header import check_fits, limit_module_count, read_header
from seqx.storage.weights import WEIGHTS, read_weights


def load(
    folder: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    precision: Precision = "auto",
    overrides: Iterable[str] = (),
    batch_tokens: int | None = None,
    trust_local_plugins: bool = False,
    lenient: bool = False,
) -> Predictor:
    """Load a model, ready to answer texts. Several folders form an ensemble that averages probabilities.

    Args:
        folder: a model folder, or the folder of a finished run. Several must have the same vocabulary.
        device: auto, cpu, cuda, cuda:1, ...
        precision: bf16 or fp32; auto: bf16 if the device supports it
        overrides: `KEY=VALUE` for settings of the task or the search, such as `search.size=8`
        batch_tokens: maximum padded tokens of a batch, see `Predictor`; a smaller value needs less memory
        trust_local_plugins: run the Python files that the model's recipe names as plugins
        lenient: see `Predictor`

    Raises:
        UserError: a folder is missing, damaged or unsuitable
    """
    folders = [folder] if isinstance(folder, str | Path) else list(folder)
    if not folders:
        raise UserError("name at least one model")
    torch_device = device_of(device)
    if torch_device.type == "cpu":
        cpu_threads.adapt_to_contention()
    settings = [overrides] if isinstance(overrides, str) else list(overrides)
    contents = [_read(model_folder(Path(each)), settings, trust=trust_local_plugins) for each in folders]
    first, *others = contents
    for other in others:
        _check_same_vocabulary(first.folder, other.folder)
    models = [each.build() for each in contents]
    model = _ensemble(models, first.registry) if others else models[0]
    return Predictor(
        first.task,
        model.to(torch_device).eval(),
        first.search,
        device=torch_device,
        precision=precision_of(precision, torch_device),
        batch_tokens=batch_tokens,
        lenient=lenient,
    )


_MAX_SIZE = 1 << 24
"""The maximum of any number in a model's settings, such as layers, width or positions."""


class InferenceRecipe:
    """The part of a recipe that inference needs.

    Args:
        task: the task that the model was trained on
        model: the model
        search: the search that decodes
    """

    def __init__(self, *, task: Task, model: Make[Model], search: Search) -> None:
        self.task = task
        self.model = model
        self.search = search


@dataclass(frozen=True)
class _ModelContents:
    """A model folder, read and checked, without its weights."""

    folder: Path
    task: Task
    model: Make[Model]
    search: Search
    registry: Registry

    def build(self) -> Model:
        """Build the model with its weights."""
        file = self.folder / WEIGHTS
        tensors = read_header(file)
        with limit_module_count(tensors, file):
            check_fits(self._build_on_meta_device(), tensors, file)
        model: Model = self.model(self.task.vocab_sizes)
        read_weights(model, file)
        return model

    def _build_on_meta_device(self) -> Model:
        """Build the model without memory for weights, because a foreign recipe may ask for any amount."""
        try:
            with torch.device("meta"):
                model: Model = self.model(self.task.vocab_sizes)
        except (RuntimeError, OverflowError) as error:
            raise UserError(f"{self.folder}: its model cannot be built in these sizes ({error})") from None
        return model


def model_folder(folder: Path) -> Path:
    """Return the model folder at this path: `folder` itself, or `folder/model` of a run.

    Raises:
        UserError: there is no model, or a symbolic link leads out of its folder
    """
    check_name(folder)
    if (folder / WEIGHTS).is_file() and (folder / "recipe.yaml").is_file():
        check_links(folder)
        return folder
    if (folder / "model").is_dir():
        return model_folder(folder / "model")
    raise UserError(f"{folder}: {_describe_other(folder)}")


def _describe_other(folder: Path) -> str:
    """Return a message that says what a path is, if it is not a model folder, and what to do."""
    name = "name a model's folder, as runs/NAME/model"
    if folder.is_file():
        if (folder.parent / WEIGHTS).is_file() and (folder.parent / "recipe.yaml").is_file():
            return f"is a file of a model; name its folder, {folder.parent}"
        return f"is a recipe, not a model; {_train(folder)}" if _is_recipe(folder) else f"is a file; {name}"
    run = next((each for each in (folder, folder.parent, folder.parent.parent) if _is_run(each)), None)
    if run is not None and folder in (run, run / "model"):
        return _unfinished(run)
    if run is not None and run / "checkpoints" in (folder, folder.parent):
        return f"holds checkpoints, not a model; `seqx average {run}` makes a model of them"
    if not folder.is_dir():
        known = str(folder) in recipe.named()
        return f"is a recipe, not a model; {_train(folder)}" if known else f"there is no such folder; {name}"
    missing = [name for name in (WEIGHTS, "recipe.yaml") if not (folder / name).is_file()]
    return f"is not the folder of a model ({' and '.join(missing)} missing)"


def _train(recipe: Path) -> str:
    return f"`seqx run {recipe}` trains one"


def _is_recipe(file: Path) -> bool:
    return file.suffix in (".yaml", ".yml")


def _is_run(folder: Path) -> bool:
    """Return true if this is the folder of a run that has started."""
    return (folder / "recipe.yaml").is_file() and (folder / "environment.json").is_file()


def _unfinished(run: Path) -> str:
    """Return a message about a run without a model: its last checkpoint, and how to get a model."""
    saved = Checkpoints(run / "checkpoints").steps()
    training = recipe.read_plain(run / "recipe.yaml").get("training")
    steps = training.get("steps") if isinstance(training, dict) else None
    progress = f"its last checkpoint is of update {saved[-1]}" if saved else "it has no checkpoint yet"
    of_steps = f" of {steps}" if saved and isinstance(steps, int) else ""
    resume = f"`seqx run {run / 'recipe.yaml'} --folder {run}` continues it"
    average = f", or `seqx average {run}` makes a model of its checkpoints" if saved else ""
    return f"this run is not finished and has no model yet: {progress}{of_steps}; {resume}{average}"


def _read(folder: Path, overrides: Sequence[str], *, trust: bool) -> _ModelContents:
    """Read and check everything except the weights."""
    check_model(folder)
    trained_with = read_as(MADE_WITH, folder / "model.json").get("plugins", {})
    _check_overrides(overrides)
    read = recipe.load(folder / "recipe.yaml", None, overrides, local_plugins=trust, whole=True)
    plugins = load_plugins(read.plugins, kept=trained_with)
    root = read.tree
    assert isinstance(root.value, dict)
    _check_sizes(root.value.get("model"), "model")
    needed = {key: node for key, node in root.value.items() if key in ("task", "model", "search")}
    try:
        checked = recipe.check(Node(needed, root.at, root.keys), plugins.registry, InferenceRecipe)
        if overrides:
            _check_vocabulary(checked, folder)
        built = checked()
    except RecipeError as error:
        missing = _missing_plugins(trained_with, plugins)
        if not missing:
            raise
        raise UserError(
            f"{folder}: this model was trained with plugins that are not here: {', '.join(missing)}; "
            f"install them. Without them:\n{error}"
        ) from error
    built.task.load(folder / "task")
    return _ModelContents(folder, built.task, built.model, built.search, plugins.registry)


def _check_sizes(node: Node | None, path: str) -> None:
    """Refuse numbers that no model has, before a list of as many layers is created."""
    value = None if node is None else node.value
    if isinstance(value, dict):
        for key, child in value.items():
            _check_sizes(child, f"{path}.{key}")
    elif isinstance(value, list):
        for i, child in enumerate(value):
            _check_sizes(child, f"{path}.{i}")
    elif isinstance(value, int) and value > _MAX_SIZE:
        assert node is not None
        raise RecipeError([Problem(node.at, f"{path}: {value} is more than the {_MAX_SIZE:,} of any model")])


def _check_overrides(overrides: Sequence[str]) -> None:
    for text in overrides:
        if text.partition("=")[0].partition(".")[0] not in ("search", "task"):
            raise UserError(
                f"{text}: of a finished model only settings of the search and the task can be changed, "
                "as in search.size=8"
            )


def _check_vocabulary(checked: recipe.Configured[InferenceRecipe], folder: Path) -> None:
    """Refuse overrides of settings that determine the vocabulary."""
    task = checked.settings["task"]
    assert isinstance(task, recipe.Configured), "a task is a component"
    trained_on = recipe.with_new_names(recipe.read_plain(folder / "recipe.yaml")["task"], task)
    if problems := list(recipe.Fixed(str(folder), ", or leave it out").problems(task, trained_on)):
        raise RecipeError(problems)


def _missing_plugins(needed: Kept, plugins: Plugins) -> list[str]:
    """Return the installed plugins (with versions) of a model that did not load here."""
    loaded = {plugin.name for plugin in plugins.loaded}
    faults = {fault.name: f", which fails: {fault.error}" for fault in plugins.faults}
    return [
        f"{name} {about.get('version')}{faults.get(name, '')}"
        for name, about in needed.items()
        if name not in loaded and about.get("sha256") is None  # local plugins are in the model folder
    ]


def _check_same_vocabulary(one: Path, other: Path) -> None:
    """Compare the files of two models' vocabularies."""
    first, second = (
        {file.relative_to(task) for file in task.rglob("*") if file.is_file()}
        for task in (one / "task", other / "task")
    )
    different = first ^ second or {
        name for name in first if not filecmp.cmp(one / "task" / name, other / "task" / name, shallow=False)
    }
    if different:
        raise UserError(
            f"{one} and {other} have different vocabularies (task/{min(different)}), so they cannot form an "
            "ensemble; train them with the same vocabulary"
        )


def _ensemble(models: Sequence[Model], registry: Registry) -> Model:
    ensembles = registry.components(Ensemble)
    if not ensembles:
        raise UserError("no installed plugin has an ensemble; name one model")
    return next(iter(ensembles.values())).maker(models)
