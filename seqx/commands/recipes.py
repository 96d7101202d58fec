"""The command `seqx recipes`."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from seqx.commands.listing_cache import from_cache
from seqx.commands.text_format import format_count, format_long_duration
from seqx.errors import UserError
from seqx.recipe.files import included_recipes
from seqx.recipe.suggestions import hint
from seqx.storage.text_lines import expand_path

EFFICIENCY = 0.25
"""The assumed speed of training, as a fraction of the speed of large matrix products."""

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SHOWN = 3  # names of files
_NOTE = (
    "The time is a rough estimate for training on this machine: the operations of the recipe, divided by a "
    "quarter of the speed of matrix products, {speed:,.0f} GFLOP/s."
)


@click.command(epilog="Example: seqx recipes parsing")
@click.argument("words", metavar="[WORD]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def recipes(words: Sequence[str], *, as_json: bool) -> None:
    """List the included recipes: task, size, data and expected time.

    With WORDs, list only recipes whose names or tasks contain one of them. For each recipe, print the number
    of parameters, whether the data that it reads is present, and an estimate of the time of its training on
    this machine. The profile `sample` of a recipe needs no data.
    """
    files = included_recipes()
    index: dict[str, Any] = from_cache("recipes", files.values(), _create)
    chosen = [each for each in index["recipes"] if not words or any(map(_text(each).__contains__, words))]
    if not chosen:
        raise UserError(f"no recipe contains {' or '.join(words)}{hint(words[0], files)}")
    speed = index["flops_per_second"]
    rows = [{**each, **_on_this_machine(each, speed)} for each in chosen]
    if as_json:
        click.echo(json.dumps({"flops_per_second": speed, "recipes": rows}, indent=2))
        return
    _print_table(rows)
    click.echo(f"\n{_NOTE.format(speed=speed / 1e9)}")
    click.echo("Train one: seqx run NAME [--profile sample]. Write one for your own files: seqx new recipe.")


def _create() -> tuple[dict[str, Any], bool]:
    from seqx.commands.recipe_index import index  # noqa: PLC0415  it imports torch

    return index()


def _text(recipe: Mapping[str, Any]) -> str:
    return f"{recipe['name']} {recipe.get('task', '')}"


def _on_this_machine(recipe: Mapping[str, Any], speed: float) -> dict[str, Any]:
    """Return the missing files, which depend on the current folder, and the estimated seconds."""
    if "error" in recipe:
        return {}
    data = recipe["data"]
    missing = None if data is None else [file for file in data["files"] if not _exists(file)]
    return {"missing": missing, "estimated_seconds": recipe["flops"] / (EFFICIENCY * speed)}


def _exists(file: str) -> bool:
    try:
        return expand_path(file).exists()
    except (UserError, OSError):  # an environment variable is not set
        return False


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    table = [("RECIPE", "TASK", "PARAMETERS", "TIME", "DATA"), *map(_cells, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    for name, task, parameters, seconds, data in table:
        left = f"{name:<{widths[0]}}  {task:<{widths[1]}}"
        click.echo(f"{left}  {parameters:>{widths[2]}}  {seconds:>{widths[3]}}  {data}")


def _cells(row: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    name = row["name"] if row["profile"] is None else f"  --profile {row['profile']}"
    if "error" in row:
        return name, "?", "", "", row["error"]
    seconds = format_long_duration(row["estimated_seconds"])
    return name, row["task"], format_count(row["parameters"]), seconds, _data(row)


def _data(row: Mapping[str, Any]) -> str:
    """Return a text about the data of a recipe: its size or files, and whether it is present."""
    if row["data"] is None:
        return "not known"
    files: list[str] = row["data"]["files"]
    if not files:
        return "none"
    missing: list[str] = row["missing"]
    size = row["data"]["download_bytes"]
    if size:
        state = "missing; `seqx run` downloads it" if missing else "present"
        return f"{size / 1e9:.1f} GB, {state}"
    folder = os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120  it keeps ${NAME}
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    shown = folder or ", ".join(files[:_SHOWN]) + more
    return f"{shown}: {_state(missing, files)}"


def _state(missing: Sequence[str], files: Sequence[str]) -> str:
    unset = dict.fromkeys(
        name for file in missing for name in _VARIABLE.findall(file) if name not in os.environ
    )
    if unset:
        return f"missing; set the variable {' and '.join(unset)}"
    if not missing:
        return "present"
    return "missing" if len(missing) == len(files) else f"without {', '.join(missing)}"
