"""From a model's folder to a model that answers."""

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
    """What a run left in `model/`, ready to answer texts; several folders answer as one, by their mean.

    Args:
        folder: a model's folder, or that of a finished run; several must have the same vocabulary
        device: auto, cpu, cuda, cuda:1, ...
        precision: bf16 or fp32; auto: bf16 where the device has it
        overrides: `key=value` for settings of the task or the search, as `search.size=8`
        batch_tokens: places of a batch, see Predictor; less needs less memory
        trust_local_plugins: run the Python files that the model's recipe names as plugins
        lenient: see Predictor

    Raises:
        UserError: what is missing, damaged or does not fit, and what to do
    """
    folders = [folder] if isinstance(folder, str | Path) else list(folder)
    if not folders:
        raise UserError("name at least one model")
    where = device_of(device)
    if where.type == "cpu":
        cpu_threads.adapt_to_contention()
    said = [overrides] if isinstance(overrides, str) else list(overrides)
    parts = [_read(model_folder(Path(one)), said, trust=trust_local_plugins) for one in folders]
    for other in parts[1:]:
        _check_same_vocabulary(parts[0].folder, other.folder)
    models = [one.build() for one in parts]
    model = models[0] if len(models) == 1 else _combined(models, parts[0].registry)
    return Predictor(
        parts[0].task,
        model.to(where).eval(),
        parts[0].search,
        device=where,
        precision=precision_of(precision, where),
        batch_tokens=batch_tokens,
        lenient=lenient,
    )


_MOST = 1 << 24  # of a model's sizes: layers, width, positions


class InferenceRecipe:
    """What is needed of a recipe to answer.

    Args:
        task: what was learnt
        model: what learnt it
        search: how it finds its answers
    """

    def __init__(self, *, task: Task, model: Make[Model], search: Search) -> None:
        self.task = task
        self.model = model
        self.search = search


@dataclass(frozen=True)
class _Parts:
    """A model's folder, read and checked."""

    folder: Path
    task: Task
    model: Make[Model]
    search: Search
    registry: Registry

    def build(self) -> Model:
        """The model, with its weights."""
        file = self.folder / WEIGHTS
        tensors = read_header(file)
        with limit_module_count(tensors, file):
            check_fits(self._shell(), tensors, file)
        model: Model = self.model(self.task.vocab_sizes)
        read_weights(model, file)
        return model

    def _shell(self) -> Model:
        """The model without memory for weights, which the recipe of a stranger may want any amount of."""
        try:
            with torch.device("meta"):
                model: Model = self.model(self.task.vocab_sizes)
        except (RuntimeError, OverflowError) as error:
            raise UserError(f"{self.folder}: its model cannot be built in these sizes ({error})") from None
        return model


def model_folder(folder: Path) -> Path:
    """The folder of the model that `folder` is, or that the run in `folder` made.

    Raises:
        UserError: there is no model, or a link leads out of its folder
    """
    check_name(folder)
    if (folder / WEIGHTS).is_file() and (folder / "recipe.yaml").is_file():
        check_links(folder)
        return folder
    if (folder / "model").is_dir():
        return model_folder(folder / "model")
    raise UserError(f"{folder}: {_no_model(folder)}")


def _no_model(folder: Path) -> str:
    """Return a message for a path that is not a model's folder: what it is, and what to do."""
    name = "name a model's folder, as runs/NAME/model"
    if folder.is_file():
        if (folder.parent / WEIGHTS).is_file() and (folder.parent / "recipe.yaml").is_file():
            return f"is a file of a model; name its folder, {folder.parent}"
        return f"is a recipe, not a model; {_train(folder)}" if _is_recipe(folder) else f"is a file; {name}"
    run = next((place for place in (folder, folder.parent, folder.parent.parent) if _is_run(place)), None)
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
    """Return true for the folder of a run that has begun."""
    return (folder / "recipe.yaml").is_file() and (folder / "environment.json").is_file()


def _unfinished(run: Path) -> str:
    """Return a message for a run without a model: its last update, and how to get a model."""
    made = Checkpoints(run / "checkpoints").steps()
    said = recipe.read_plain(run / "recipe.yaml").get("training")
    steps = said.get("steps") if isinstance(said, dict) else None
    far = f"its last checkpoint is of update {made[-1]}" if made else "it has no checkpoint yet"
    of = f" of {steps}" if made and isinstance(steps, int) else ""
    go_on = f"`seqx run {run / 'recipe.yaml'} --folder {run}` continues it"
    average = f", or `seqx average {run}` makes a model of its checkpoints" if made else ""
    return f"this run is not finished and has no model yet: {far}{of}; {go_on}{average}"


def _read(folder: Path, overrides: Sequence[str], *, trust: bool) -> _Parts:
    check_model(folder)
    kept = read_as(MADE_WITH, folder / "model.json").get("plugins", {})
    _check_overrides(overrides)
    read = recipe.load(folder / "recipe.yaml", None, overrides, local_plugins=trust, whole=True)
    found = load_plugins(read.plugins, kept=kept)
    root = read.tree
    assert isinstance(root.value, dict)
    _check_sizes(root.value.get("model"), "model")
    wanted = {key: node for key, node in root.value.items() if key in ("task", "model", "search")}
    try:
        checked = recipe.check(Node(wanted, root.at, root.keys), found.registry, InferenceRecipe)
        if overrides:
            _check_vocabulary(checked, folder)
        made = checked()
    except RecipeError as error:
        missing = _missing(kept, found)
        if not missing:
            raise
        raise UserError(
            f"{folder}: this model was trained with plugins that are not here: {', '.join(missing)}; "
            f"install them. Without them:\n{error}"
        ) from error
    made.task.load(folder / "task")
    return _Parts(folder, made.task, made.model, made.search, found.registry)


def _check_sizes(node: Node | None, path: str) -> None:
    """Refuse numbers that no model has, before lists of so many layers are made."""
    value = None if node is None else node.value
    if isinstance(value, dict):
        for key, child in value.items():
            _check_sizes(child, f"{path}.{key}")
    elif isinstance(value, list):
        for i, child in enumerate(value):
            _check_sizes(child, f"{path}.{i}")
    elif isinstance(value, int) and value > _MOST:
        assert node is not None
        raise RecipeError([Problem(node.at, f"{path}: {value} is more than the {_MOST:,} of any model")])


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
    theirs = recipe.read_plain(folder / "recipe.yaml")["task"]
    if problems := list(recipe.Fixed(str(folder), ", or leave it out").problems(task, theirs)):
        raise RecipeError(problems)


def _missing(needed: Kept, found: Plugins) -> list[str]:
    """The plugins, with their versions, that a model was trained with and that did not load here."""
    here = {plugin.name for plugin in found.loaded}
    faults = {fault.name: f", which fails: {fault.error}" for fault in found.faults}
    return [
        f"{name} {about.get('version')}{faults.get(name, '')}"
        for name, about in needed.items()
        if name not in here and about.get("sha256") is None  # local plugins lie in the folder
    ]


def _check_same_vocabulary(one: Path, other: Path) -> None:
    first, second = (
        {file.relative_to(at) for file in at.rglob("*") if file.is_file()}
        for at in (one / "task", other / "task")
    )
    different = first ^ second or {
        name for name in first if not filecmp.cmp(one / "task" / name, other / "task" / name, shallow=False)
    }
    if different:
        raise UserError(
            f"{one} and {other} have different vocabularies (task/{min(different)}), so that they cannot "
            "answer as one; train them with the same one"
        )


def _combined(models: Sequence[Model], registry: Registry) -> Model:
    known = registry.components(Ensemble)
    if not known:
        raise UserError("no plugin that is installed combines models; name one model")
    return next(iter(known.values())).maker(models)
