"""`seqx new`."""

import keyword
import re
from importlib.metadata import entry_points
from pathlib import Path

import click

from seqx.errors import UserError
from seqx.plugin.loading import GROUP, Plugins, home, load_plugins, origin
from seqx.storage.atomic import atomic_folder

TEMPLATES = Path(__file__).parents[1] / "templates"
COMMON = "common"
"""The template of what every plugin has; each of the others is an interface's."""

KINDS = sorted(path.name for path in TEMPLATES.iterdir() if path.name != COMMON and path.is_dir())
NAME = "newcomer"  # what the plugin of the templates is called
_RIGHT = re.compile(r"[a-z][a-z0-9_]{0,38}[a-z0-9]")
_RESERVED = {"null", "seqx"}  # no name in a recipe, no plugin of seqx's


@click.command()
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(KINDS), default="attention", show_default=True, help="What it offers."
)
@click.option(
    "--folder", metavar="DIR", type=click.Path(path_type=Path), help="Where; seqx-NAME when left out."
)
def new(name: str, *, kind: str, folder: Path | None) -> None:
    """Write a plugin that works, to be changed into one's own.

    It has a component, a recipe that uses it, tests that try the laws of its interface, and an entry point by
    which seqx finds it once it is installed.
    """
    found = load_plugins()
    _check_name(name, found)
    place = folder or Path(f"seqx-{name}")
    if place.exists() or place.is_symlink():
        raise UserError(f"{place}: is there already; choose another name, or another --folder")
    with atomic_folder(place) as written:
        for template in (COMMON, kind):
            _write(TEMPLATES / template, written, name)
    click.echo(f"{place}: plugin {name}, with a component for {_title(kind)}. What next:")
    click.echo(f"  cd {place}")
    click.echo("  pip install --editable '.[dev]'")
    click.echo("  pytest")
    click.echo(f"  seqx run recipes/{name}.yaml --profile sample")


def _check_name(name: str, found: Plugins) -> None:
    if not _is_right(name):
        near = re.sub(r"\W+", "_", name.lower()).strip("_0123456789")
        hint = f"; {near!r} would do" if _is_right(near) else ""
        raise UserError(
            f"{name!r} cannot be a plugin's name: 2 to 40 small letters, digits and underscores, a letter "
            f"first, no underscore last, no word of Python's or YAML's own, nor seqx{hint}"
        )
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            raise UserError(
                f"a plugin called {name!r} is installed, from {origin(entry)[1]}; choose another name"
            )
    if home(f"seqx_{name}") is not None:
        raise UserError(f"a package called seqx_{name} is installed; choose another name")
    for kind in found.registry.interfaces():
        if component := found.registry.components(kind).get(name):
            raise UserError(
                f"plugin {component.plugin!r} has {name!r} as {kind.__name__} already; choose another name"
            )


def _is_right(name: str) -> bool:
    words = (name, _title(name))  # of the package, and of the class
    return bool(_RIGHT.fullmatch(name)) and name not in _RESERVED and not any(map(keyword.iskeyword, words))


def _title(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))


def _write(template: Path, folder: Path, name: str) -> None:
    for source in sorted(template.rglob("*")):
        if not source.is_file() or "__pycache__" in source.parts:
            continue
        target = folder / str(source.relative_to(template)).replace(NAME, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        target.write_text(text.replace(NAME, name).replace(_title(NAME), _title(name)), encoding="utf-8")
