"""Conversion of trained models, and searches that another program runs."""

from pathlib import Path

from seqx import __version__, recipe
from seqx.data.cache import fingerprint, get_or_create
from seqx.errors import PluginError, UserError
from seqx.interfaces.exchange import Engine, Exporter, TrainedModel
from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Task
from seqx.plugin.registry import where
from seqx.storage.cache_folder import default_cache
from seqx.storage.model_folder import read_scores


def trained_model(folder: Path, task: Task, model: Model, search: Search | None) -> TrainedModel:
    """Return the content of a model folder that was loaded on the CPU in fp32, for an exporter."""
    return TrainedModel(
        recipe=recipe.read_plain(folder / "recipe.yaml"),
        task=task,
        model=model,
        vocabulary=folder / "task",
        search=search,
        scores=read_scores(folder),
    )


def check_exportable(exporter: Exporter, model: TrainedModel, folder: Path) -> None:
    """Check that a format can express a model.

    Raises:
        UserError: it cannot; the message names each setting
    """
    if problems := list(exporter.problems(model) or ()):
        raise UserError("\n".join(f"{folder / 'recipe.yaml'}: {problem}" for problem in problems))


def write_export(exporter: Exporter, model: TrainedModel, folder: Path) -> None:
    """Write a model into an empty folder.

    Raises:
        PluginError: the exporter has written nothing
    """
    exporter.write(model, folder)
    if not any(folder.iterdir()):
        raise PluginError(f"{where(type(exporter))}: `write` has written no file")


def engine_search(engine: Engine, folder: Path, task: Task, model: Model, search: Search | None) -> Search:
    """Return a search that an engine runs; convert the model first, unless its conversion is in the cache.

    Raises:
        UserError: the engine cannot express the model, or the task does not use a search
    """
    if search is None:
        raise UserError(f"{folder}: the task of this model does not use a search; leave out the engine")
    trained = trained_model(folder, task, model, search)
    check_exportable(engine, trained, folder)
    parts = {
        "engine": f"{type(engine).__module__}.{type(engine).__qualname__}",
        "identity": dict(engine.identity()),
        "seqx": __version__,
        "model": fingerprint(folder),
    }
    converted = get_or_create(
        parts, default_cache() / "engines", lambda new: write_export(engine, trained, new), lambda *_: None
    )
    return engine.search(trained, converted)
