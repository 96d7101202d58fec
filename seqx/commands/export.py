"""The commands `seqx export` and `seqx import`."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from yaml import YAMLError

from seqx.commands.arguments import trust_option
from seqx.commands.component_option import component_from_option
from seqx.errors import PluginError, UserError
from seqx.inference.exchange import check_exportable, trained_model, write_export
from seqx.inference.loading import load, model_folder
from seqx.interfaces.exchange import Exporter, ImportedModel, Importer
from seqx.plugin.environment import environment
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import where
from seqx.recipe.yaml_writer import dump
from seqx.storage.atomic import atomic_folder
from seqx.storage.model_folder import write_model

_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")  # the characters of SPDX identifiers

out_option = click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), required=True, help="New folder to write."
)


@click.command(
    name="export", epilog="Example: seqx export runs/wmt_en_de-sample --to huggingface --out exported"
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", "target", metavar="FORMAT", required=True, help="Exporter, as in a recipe.")
@out_option
@click.option("--license", "licence", metavar="ID", help="Licence of the model for its card, as cc-by-4.0.")
@trust_option
def export_model(
    model: Path, *, target: str, out: Path, licence: str | None, trust_local_plugins: bool
) -> None:
    """Write a MODEL in the format of another program.

    MODEL is a model folder or the folder of a finished run. FORMAT is the name of an exporter, or settings
    such as '{type: NAME, setting: value}'. Plugins add exporters; `seqx components exporter` lists them.
    """
    _check_free(out)
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise UserError(
            f"--license: {licence!r} is not an identifier; write one such as cc-by-4.0 or apache-2.0"
        )
    exporter = component_from_option(Exporter, "--to", target)
    folder = model_folder(model)
    predictor = load(folder, device="cpu", precision="fp32", trust_local_plugins=trust_local_plugins)
    trained = replace(
        trained_model(folder, predictor.task, predictor.model, predictor.search), license=licence
    )
    check_exportable(exporter, trained, folder)
    with atomic_folder(out) as new:
        write_export(exporter, trained, new)
    click.echo(f"{out}: written")


@click.command(name="import", epilog="Example: seqx import exported --from huggingface --out imported")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--from", "origin", metavar="FORMAT", required=True, help="Importer, as in a recipe.")
@out_option
def import_model(source: Path, *, origin: str, out: Path) -> None:
    """Read a model in the format of another program.

    The model is written as a model folder. SOURCE is the file or folder of the other program. FORMAT is the
    name of an importer, or settings such as '{type: NAME, setting: value}'. Plugins add importers;
    `seqx components importer` lists them.
    """
    _check_free(out)
    importer = component_from_option(Importer, "--from", origin)
    if not source.exists():
        raise UserError(f"{source}: there is no such file or folder")
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
    click.echo(f"{out}: written")


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


def _check_free(folder: Path) -> None:
    if folder.exists():
        raise UserError(f"{folder}: exists already; remove it, or choose another --out")
