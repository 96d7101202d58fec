"""Loading of model folders into a `Predictor`."""

import filecmp
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from seqx import recipe
from seqx.errors import Problem, RecipeError, UserError
from seqx.inference.exchange import engine_search
from seqx.inference.packing import pack
from seqx.inference.predictor import Predictor
from seqx.interfaces.exchange import Engine
from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Ensemble, Model
from seqx.interfaces.task import Task
from seqx.plugin.blame import construction_error
from seqx.plugin.loading import PLUGINS_FIELD, Plugins, RecordedPlugins, load_plugins
from seqx.plugin.registry import Make, Registry
from seqx.recipe.suggestions import nearest
from seqx.recipe.yaml_tree import Node
from seqx.runtime import cpu_threads
from seqx.runtime.devices import device_of
from seqx.runtime.meta_device import meta_device
from seqx.runtime.precision import InferencePrecision, compute_precision
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
    precision: InferencePrecision = "auto",
    overrides: Iterable[str] = (),
    batch_tokens: int | None = None,
    trust_local_plugins: bool = False,
    lenient: bool = False,
    num_answers: int | None = None,
    engine: Engine | None = None,
) -> Predictor:
    """Load a model that answers texts. Several folders form an ensemble that averages probabilities.

    Args:
        folder: a model folder, or the folder of a finished run. Several models must have the same vocabulary.
        device: name of the device: auto, cpu, cuda, cuda:1, ...
        precision: bf16, fp32, or int8 on a CPU; auto: bf16 if the device supports it. On a CPU, large
            weights of the returned model are `PackedWeight`s, whose values have this precision.
        overrides: `KEY=VALUE` for settings of the task or the search, such as `search.size=8`
        batch_tokens: the maximum padded tokens of a batch, see `Predictor`; a smaller value needs less memory
        trust_local_plugins: run the Python files that the model's recipe names as plugins
        lenient: see `Predictor`
        num_answers: see `Predictor`
        engine: another program that runs the search, on the CPU

    Raises:
        UserError: a folder is missing, damaged or unsuitable, or unsuitable for the engine
    """
    folders = [folder] if isinstance(folder, str | Path) else list(folder)
    if not folders:
        raise UserError("the list of models is empty; name at least one model")
    torch_device = device_of(device)
    if engine is not None and not isinstance(engine, Engine):
        raise UserError(f"engine is {engine!r}; pass an engine, such as CTranslate2Engine()")
    if engine is not None and precision == "auto":
        precision = "fp32"
    computed = compute_precision(precision, torch_device)
    if torch_device.type == "cpu":
        cpu_threads.adapt_to_contention()
    settings = [overrides] if isinstance(overrides, str) else list(overrides)
    contents = [_read(model_folder(Path(path)), settings, trust=trust_local_plugins) for path in folders]
    first, *others = contents
    for other in others:
        _check_same_vocabulary(first.folder, other.folder)
    models = [content.build() for content in contents]
    model = _ensemble(models, first.registry) if others else models[0]
    model.to(torch_device).eval()
    search = first.search
    if engine is not None:
        if others or torch_device.type != "cpu":
            raise UserError(
                "an engine answers with one model, on the CPU; set the device to cpu, or leave out the engine"
            )
        search = engine_search(engine, first.folder, first.task, model, search)
    if torch_device.type == "cpu":
        pack(model, computed)
    return Predictor(
        first.task,
        model,
        search,
        device=torch_device,
        precision=computed,
        batch_tokens=batch_tokens,
        lenient=lenient,
        num_answers=num_answers,
    )


_CHANGEABLE = ("search", "task")
"""The sections of a recipe whose settings can be changed when a trained model is used."""

_MAX_SIZE = 1 << 24
"""The maximum of each number in a model's settings, such as layers, width or positions."""


class InferenceRecipe:
    """The part of a recipe that inference needs.

    Args:
        task: the task that the model was trained on
        model: the model
        search: the search that decodes, if the task uses one
    """

    def __init__(self, *, task: Task, model: Make[Model], search: Search | None = None) -> None:
        self.task = task
        self.model = model
        self.search = search


@dataclass(frozen=True)
class _ModelContents:
    """The checked contents of a model folder, except the weights."""

    folder: Path
    task: Task
    model: Make[Model]
    search: Search | None
    registry: Registry

    def build(self) -> Model:
        """Build the model with its weights."""
        file = self.folder / WEIGHTS
        tensors = read_header(file)
        with limit_module_count(tensors, file):
            on_meta = self._build_on_meta_device()
            if problem := model_problem(self.task, on_meta):
                raise UserError(f"{self.folder / 'recipe.yaml'}: {problem}")
            check_fits(on_meta, tensors, file)
        model: Model = self.model(self.task.vocab_sizes)
        read_weights(model, file)
        return model

    def _build_on_meta_device(self) -> Model:
        """Build the model without allocating weights: an untrusted recipe may ask for too much memory."""
        try:
            with meta_device():
                model: Model = self.model(self.task.vocab_sizes)
        except (RuntimeError, OverflowError) as error:
            file = self.folder / "recipe.yaml"
            message = f"{file}: the sizes of the model are invalid ({error}); correct them"
            raise construction_error(error, message) from error
        return model


def model_problem(task: Task, model: Model) -> str | None:
    """Return a message about a model that cannot be used with a task; None if it can."""
    if isinstance(model, task.model_type):
        return None
    return (
        f"model: the task needs a {task.model_type.__name__}, and this model is not one; choose another type "
        "of model (`seqx components model` lists them)"
    )


def model_folder(folder: Path) -> Path:
    """Return the model folder at this path: `folder` itself, or `folder/model` of a run.

    Raises:
        UserError: the path has no model, or a symbolic link leads out of the model folder
    """
    check_name(folder)
    if (folder / WEIGHTS).is_file() and (folder / "recipe.yaml").is_file():
        check_links(folder)
        return folder
    if (folder / "model").is_dir():
        return model_folder(folder / "model")
    raise UserError(f"{folder}: {_describe_other(folder)}")


def _describe_other(folder: Path) -> str:
    """Return the error message for a path that is not a model folder: what it is instead, and what to do."""
    advice = "name a model folder, such as runs/NAME/model"
    if folder.is_file():
        if (folder.parent / WEIGHTS).is_file() and (folder.parent / "recipe.yaml").is_file():
            return f"is a file of a model; name its folder, {folder.parent}"
        return _describe_recipe(folder) if _is_recipe(folder) else f"is a file; {advice}"
    run = next((path for path in (folder, folder.parent, folder.parent.parent) if _is_run(path)), None)
    if run is not None and folder in (run, run / "model"):
        return _describe_unfinished_run(run)
    if run is not None and run / "checkpoints" in (folder, folder.parent):
        return f"holds checkpoints, not a model; `seqx average {run}` averages them into a model"
    if not folder.is_dir():
        is_recipe = str(folder) in recipe.included_recipes()
        return _describe_recipe(folder) if is_recipe else f"there is no such folder; {advice}"
    missing = [name for name in (WEIGHTS, "recipe.yaml") if not (folder / name).is_file()]
    return f"is not the folder of a model ({' and '.join(missing)} missing); {advice}"


def _describe_recipe(recipe: Path) -> str:
    return f"is a recipe, not a model; `seqx run {recipe}` trains one"


def _is_recipe(file: Path) -> bool:
    return file.suffix in (".yaml", ".yml")


def _is_run(folder: Path) -> bool:
    """Return true if a folder is the folder of a run that has started."""
    return (folder / "recipe.yaml").is_file() and (folder / "environment.json").is_file()


def _describe_unfinished_run(run: Path) -> str:
    """Return the error message for a run without a model: its last checkpoint, and how to get a model."""
    saved = Checkpoints(run / "checkpoints").steps()
    training = recipe.read_plain(run / "recipe.yaml").get("training")
    steps = training.get("steps") if isinstance(training, dict) else None
    progress = f"its last checkpoint is of update {saved[-1]}" if saved else "it has no checkpoint yet"
    of_steps = f" of {steps}" if saved and isinstance(steps, int) else ""
    resume = f"`seqx run {run / 'recipe.yaml'} --folder {run}` resumes it"
    average = f", or `seqx average {run}` averages its checkpoints into a model" if saved else ""
    return f"this run is not finished and has no model yet: {progress}{of_steps}; {resume}{average}"


def _read(folder: Path, overrides: Sequence[str], *, trust: bool) -> _ModelContents:
    """Read and check a model folder, except the weights."""
    check_model(folder)
    trained_with = read_as(PLUGINS_FIELD, folder / "model.json").get("plugins", {})
    _check_overrides(overrides)
    loaded = recipe.load(folder / "recipe.yaml", None, overrides, local_plugins=trust, self_contained=True)
    plugins = load_plugins(loaded.plugins, recorded=trained_with)
    root = loaded.tree
    assert isinstance(root.value, dict)
    _check_sizes(root.value.get("model"), "model")
    # Earlier versions searched for labels, so the recipe may name a search that the task does not use.
    used = ("task", "model", "search") if _uses_search(root, plugins.registry) else ("task", "model")
    if unused := [text for text in overrides if text.startswith("search") and "search" not in used]:
        raise UserError(f"{unused[0]}: the task of this model does not use a search; leave it out")
    sections = {key: node for key, node in root.value.items() if key in used}
    try:
        checked = recipe.check(Node(sections, root.at, root.keys), plugins.registry, InferenceRecipe)
        if overrides:
            _check_vocabulary(checked, folder)
        built = checked()
    except RecipeError as error:
        missing = _missing_plugins(trained_with, plugins)
        if not missing:
            raise
        raise UserError(
            f"{folder}: this model was trained with plugins that are not installed: {', '.join(missing)}; "
            f"install them. Without them, its recipe has errors:\n{error}"
        ) from error
    if built.search is None and built.task.uses_search:
        raise UserError(
            f"{folder / 'recipe.yaml'}: search: it is missing, but the task uses a search; set search=beam"
        )
    built.task.load(folder / "task")
    return _ModelContents(folder, built.task, built.model, built.search, plugins.registry)


def _uses_search(root: Node, registry: Registry) -> bool:
    """Return true if the task of a recipe uses a search, or is unknown."""
    task = root.value.get("task") if isinstance(root.value, dict) else None
    name = task.value.get("type") if task is not None and isinstance(task.value, dict) else task
    component = None if name is None else registry.components(Task).get(str(name.value))
    return component is None or getattr(component.maker, "uses_search", True)


def _check_sizes(node: Node | None, path: str) -> None:
    """Reject numbers above `_MAX_SIZE`, before the model creates a list of that many layers."""
    value = None if node is None else node.value
    if isinstance(value, dict):
        for key, child in value.items():
            _check_sizes(child, f"{path}.{key}")
    elif isinstance(value, list):
        for i, child in enumerate(value):
            _check_sizes(child, f"{path}.{i}")
    elif isinstance(value, int) and value > _MAX_SIZE:
        assert node is not None
        raise RecipeError([Problem(node.at, f"{path}: {value} is too large; the maximum is {_MAX_SIZE:,}")])


def _check_overrides(overrides: Sequence[str]) -> None:
    for text in overrides:
        section = text.partition("=")[0].partition(".")[0]
        if section not in _CHANGEABLE:
            near = nearest(section, _CHANGEABLE)
            raise UserError(
                f"{text}: a trained model does not allow this; change only settings of the task or the "
                "search, such as search.size=8" + (f"; did you mean {near!r}?" if near else "")
            )


def _check_vocabulary(checked: recipe.Configured[InferenceRecipe], folder: Path) -> None:
    """Reject overrides of settings that determine the vocabulary."""
    task = checked.settings["task"]
    assert isinstance(task, recipe.Configured), "a task is a component"
    trained_on = recipe.with_new_names(recipe.read_plain(folder / "recipe.yaml")["task"], task)
    if problems := list(
        recipe.VocabularySettings(str(folder), ", or leave it out").problems(task, trained_on)
    ):
        raise RecipeError(problems)


def _missing_plugins(needed: RecordedPlugins, plugins: Plugins) -> list[str]:
    """Describe the plugins that a model was trained with and that are not loaded, except local plugins."""
    loaded = {plugin.name for plugin in plugins.loaded}
    faults = {fault.name: f" (installed, but fails: {fault.error})" for fault in plugins.faults}
    return [
        f"{name} {info.get('version')}{faults.get(name, '')}"
        for name, info in needed.items()
        if name not in loaded and info.get("sha256") is None  # local plugins are in the model folder
    ]


def _check_same_vocabulary(first: Path, second: Path) -> None:
    """Raise an error if the files of two models' vocabularies differ."""
    files, others = (
        {file.relative_to(folder): file for file in folder.rglob("*") if file.is_file()}
        for folder in (first / "task", second / "task")
    )
    different = files.keys() ^ others.keys() or {
        name for name in files if not filecmp.cmp(files[name], others[name], shallow=False)
    }
    if different:
        raise UserError(
            f"{first} and {second} have different vocabularies (task/{min(different)}), so they cannot form "
            "an ensemble; train them with the same vocabulary"
        )


def _ensemble(models: Sequence[Model], registry: Registry) -> Model:
    """Return an ensemble of the models, for the most specific type that all of them have.

    Raises:
        UserError: no installed ensemble accepts these models
    """
    makers = [cast("type[Ensemble]", component.maker) for component in registry.components(Ensemble).values()]
    fitting = [maker for maker in makers if all(isinstance(model, maker.members) for model in models)]
    if not fitting:
        raise UserError("no installed plugin provides an ensemble of these models; name a single model")
    return max(fitting, key=lambda maker: len(maker.members.__mro__))(models)
