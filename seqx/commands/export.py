"""The commands `seqx export` and `seqx import`."""

import re
from dataclasses import replace
from pathlib import Path

import click

from seqx.commands.arguments import trust_option
from seqx.commands.component_option import component_from_option
from seqx.commands.output_path import OutputPath, check_outside
from seqx.errors import UserError
from seqx.inference.exchange import check_exportable, trained_model, write_export
from seqx.inference.imports import write_import
from seqx.inference.loading import load, model_folder
from seqx.interfaces.exchange import Exporter, Importer
from seqx.storage.atomic import atomic_folder

_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")  # the characters of SPDX identifiers

out_option = click.option(
    "--out", metavar="DIR", type=OutputPath(is_new=True), required=True, help="New folder to write."
)


@click.command(
    name="export", epilog="Example: seqx export runs/wmt_en_de-sample --to huggingface --out exported"
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", "target", metavar="FORMAT", required=True, help="Exporter: a name or settings.")
@out_option
@click.option("--license", "licence", metavar="ID", help="Licence for the model card, such as cc-by-4.0.")
@trust_option
def export_model(
    model: Path, *, target: str, out: Path, licence: str | None, trust_local_plugins: bool
) -> None:
    """Write a MODEL in the format of another program.

    MODEL is a model folder or the folder of a finished run. FORMAT is the name of an exporter, or settings
    such as '{type: NAME, setting: value}'. Plugins add exporters; `seqx components exporter` lists them.
    """
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise UserError(
            f"--license: {licence!r} is not an identifier; write one such as cc-by-4.0 or apache-2.0"
        )
    exporter = component_from_option(Exporter, "--to", target)
    folder = model_folder(model)
    check_outside(out, folder)
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
@click.option("--from", "origin", metavar="FORMAT", required=True, help="Importer: a name or settings.")
@out_option
def import_model(source: Path, *, origin: str, out: Path) -> None:
    """Read a model in the format of another program.

    The command converts the model to a model folder. SOURCE is the file or folder of the other program.
    FORMAT is the name of an importer, or settings such as '{type: NAME, setting: value}'. Plugins add
    importers; `seqx components importer` lists them.
    """
    importer = component_from_option(Importer, "--from", origin)
    if not source.exists():
        raise UserError(f"{source}: there is no such file or folder")
    check_outside(out, source)
    write_import(importer, source, out)
    click.echo(f"{out}: written")
