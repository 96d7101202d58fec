"""Models of other programs, written as model folders."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yaml import YAMLError

from seqx.errors import PluginError
from seqx.inference.loading import load
from seqx.interfaces.exchange import ImportedModel, Importer
from seqx.plugin.environment import environment
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import where
from seqx.recipe.yaml_writer import dump
from seqx.storage.atomic import atomic_folder
from seqx.storage.model_folder import write_model


def write_import(importer: Importer, source: Path, out: Path) -> None:
    """Read a model of another program, and write it as a model folder that can be loaded.

    Args:
        importer: reads the model
        source: the file or folder of the other program
        out: the new folder; it is absent after an error

    Raises:
        UserError: the source cannot be read, or the folder cannot be written
    """
    with tempfile.TemporaryDirectory() as temporary:
        vocabulary = Path(temporary)
        text, weights = _checked(importer, importer.read(source, vocabulary))
        with atomic_folder(out, check=lambda new: load(new, device="cpu")) as new:
            write_model(
                new,
                weights,
                recipe=text,
                vocabulary=vocabulary,
                info={"imported_from": source.name, **environment(load_plugins())},
            )


def _checked(importer: Importer, imported: Any) -> tuple[str, dict[str, Tensor]]:
    """Return the recipe of an imported model as YAML, and its weights as tensors that can be saved.

    Raises:
        PluginError: the importer returned something else
    """
    place = where(type(importer))
    if not isinstance(imported, ImportedModel) or not isinstance(imported.recipe, Mapping):
        raise PluginError(f"{place}: `read` must return a seqx.ImportedModel, whose recipe is a mapping")
    try:
        text = dump(dict(imported.recipe))
    except YAMLError as error:
        raise PluginError(f"{place}: the recipe has a value that is not plain: {error}") from None
    if not isinstance(imported.weights, Mapping):
        raise PluginError(f"{place}: the weights must be a mapping from names to tensors")
    for name, tensor in imported.weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.is_meta:
            raise PluginError(
                f"{place}: the weights must be tensors by name, not {name!r}: {type(tensor).__name__}"
            )
    # Tensors may be transposed, sparse, or share memory, which the format of model folders does not allow.
    weights = {
        name: tensor.detach().to_dense().clone(memory_format=torch.contiguous_format)
        for name, tensor in imported.weights.items()
    }
    return text, weights
