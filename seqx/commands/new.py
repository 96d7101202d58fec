"""The command `seqx new`, and its command that creates a plugin."""

import importlib
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
"""The template with the files of every plugin. Each other template is for one interface."""

INTERFACES = sorted(path.name for path in TEMPLATES.iterdir() if path.name != COMMON and path.is_dir())
_COMMANDS = {"recipe": "seqx.commands.new_recipe:new_recipe", "plugin": "seqx.commands.new:new_plugin"}
PLACEHOLDER = "newcomer"  # the name of the plugin in the templates
_NAME = re.compile(r"[a-z][a-z0-9_]{0,38}[a-z0-9]")
_RESERVED = {"null", "seqx"}  # YAML reads null as no value; a package seqx_seqx would be confusing


class _NewGroup(click.Group):
    """The commands of `seqx new`; without the name of one of them, the arguments are those of `plugin`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the name of the command that creates a plugin."""
        if args and args[0] not in (*_COMMANDS, *ctx.help_option_names):
            args = ["plugin", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return [*_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_NewGroup,
    epilog="Example: seqx new recipe my.yaml --task translation --train train.en --train train.de",
)
def new() -> None:
    """Write a recipe for your own text, or create a plugin from a template.

    `seqx new NAME` is short for `seqx new plugin NAME`.
    """


@click.command(name="plugin", epilog="Example: seqx new plugin my_attention --interface attention")
@click.argument("name")
@click.option(
    "--interface",
    type=click.Choice(INTERFACES),
    default="attention",
    show_default=True,
    help="Interface of the plugin's component.",
)
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the plugin.  [default: seqx-NAME]",
)
def new_plugin(name: str, *, interface: str, folder: Path | None) -> None:
    """Create a plugin from a template.

    The plugin is complete: it has a component, a recipe that uses it, tests of the laws of its interface, and
    an entry point by which seqx finds it once it is installed. Change the component to suit your needs.
    """
    plugins = load_plugins()
    _check_name(name, plugins)
    target = folder or Path(f"seqx-{name}")
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: exists already; choose another name, or another --folder")
    with atomic_folder(target) as new_folder:
        for template in (COMMON, interface):
            _write(TEMPLATES / template, new_folder, name)
    click.echo(f"{target}: plugin {name}, with a component for {_camel_case(interface)}. Next steps:")
    click.echo(f"  cd {target}")
    click.echo("  pip install --editable '.[dev]'")
    click.echo("  pytest")
    click.echo(f"  seqx run recipes/{name}.yaml --profile sample")


def _check_name(name: str, plugins: Plugins) -> None:
    if not _is_valid(name):
        similar = re.sub(r"\W+", "_", name.lower()).strip("_0123456789")
        hint = f"; for example, {similar!r} is valid" if _is_valid(similar) else ""
        raise UserError(
            f"{name!r} cannot be the name of a plugin: it needs 2 to 40 lowercase letters, digits and "
            "underscores, begins with a letter, does not end with an underscore, and is neither a keyword of "
            f"Python or YAML nor seqx{hint}"
        )
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            raise UserError(
                f"a plugin called {name!r} is installed, from {origin(entry)[1]}; choose another name"
            )
    if home(f"seqx_{name}") is not None:
        raise UserError(f"a package called seqx_{name} is installed; choose another name")
    for interface in plugins.registry.interfaces():
        if component := plugins.registry.components(interface).get(name):
            raise UserError(
                f"plugin {component.plugin!r} has a {interface.__name__} called {name!r}; choose another name"
            )


def _is_valid(name: str) -> bool:
    identifiers = (name, _camel_case(name))  # of the package, and of the class
    is_keyword = any(map(keyword.iskeyword, identifiers))
    return bool(_NAME.fullmatch(name)) and name not in _RESERVED and not is_keyword


def _camel_case(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _write(template: Path, folder: Path, name: str) -> None:
    """Copy a template into a folder, with the name of the plugin in file names and texts."""
    for source in sorted(template.rglob("*")):
        if not source.is_file() or "__pycache__" in source.parts:
            continue
        target = folder / str(source.relative_to(template)).replace(PLACEHOLDER, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8").replace(PLACEHOLDER, name)
        target.write_text(text.replace(_camel_case(PLACEHOLDER), _camel_case(name)), encoding="utf-8")
