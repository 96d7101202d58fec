"""The command `seqx diff`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from seqx.commands.loading import load_checked
from seqx.errors import UserError
from seqx.plugin.loading import load_plugins
from seqx.recipe import read_stored, with_current_names
from seqx.recipe.configured import Configured, Value
from seqx.recipe.differences import differences
from seqx.recipe.yaml_tree import Node
from seqx.recipe.yaml_writer import dump
from seqx.training import description

Origins = Mapping[str, str]
"""The origin of each value by the path of its setting: a file and a line, or "default"."""


@click.command(epilog="Example: seqx diff wmt_en_de wmt_en_de@sample")
@click.argument("a")
@click.argument("b")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def diff(a: str, b: str, *, as_json: bool) -> None:
    """Show the settings that differ between A and B, with the origin of each value.

    A and B are recipes, run folders or model folders. RECIPE@PROFILE applies a profile of a recipe.
    """
    (before, before_origins), (now, now_origins) = _read(a), _read(b)
    rows = [
        {
            "setting": path,
            "values": list(values),
            "origins": [_origin(path, before_origins), _origin(path, now_origins)],
        }
        for path, values in differences(before, now).items()
    ]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(rows)) if rows else f"{a} and {b} have the same settings")


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield f"{row['setting']}:"
        for sign, value, origin in zip("-+", row["values"], row["origins"], strict=True):
            text = value if value == "not set" else dump(value, flow=True)
            yield f"  {sign} {text}" + (f"  # {origin}" if origin else "")


def _read(name: str) -> tuple[Any, Origins]:
    """Return the settings of a recipe, a run or a model as plain values, and their origins."""
    folder = Path(name)
    if not folder.is_dir():
        recipe, at, profile = (name, "", "") if folder.is_file() else name.rpartition("@")
        configured = load_checked(recipe, profile) if at else load_checked(name)
        return configured.configured.plain(), dict(_origins(configured.configured, ""))
    file = next(
        (file for file in (folder / "recipe.yaml", folder / "model/recipe.yaml") if file.is_file()), None
    )
    if file is None:
        raise UserError(f"{name}: has no recipe.yaml; name a recipe, a run folder or a model folder")
    stored = read_stored(file)
    plain = with_current_names(stored, load_plugins().registry, description.Experiment)
    return plain, dict(_stored_origins(stored, ""))


def _origins(value: Value, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the origin of a value of a checked recipe, and of each value inside it."""
    at = value.type_at if isinstance(value, Configured) and value.component else value.at
    yield path, "default" if at is None else at.origin
    for name, child in value.children().items():
        yield from _origins(child, f"{path}.{name}".removeprefix("."))


def _stored_origins(node: Node, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the origin of a value of a stored recipe, and of each value inside it."""
    yield path, node.at.origin
    inside = node.value
    children = dict(enumerate(inside)) if isinstance(inside, list) else inside
    for name, child in children.items() if isinstance(children, dict) else ():
        yield from _stored_origins(child, f"{path}.{name}".removeprefix("."))


def _origin(path: str, origins: Origins) -> str:
    """Return the origin of a setting; a list item without an origin has the origin of its list."""
    while path and path not in origins:
        path = path.rpartition(".")[0]
    return origins.get(path, "") if path else ""
