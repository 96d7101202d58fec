"""The command `seqx new`, and its commands that write a component or a plugin."""

import difflib
import importlib
import inspect
import shlex
from pathlib import Path

import click

from seqx.commands.next_commands import shell_name
from seqx.commands.output_path import OutputPath
from seqx.commands.templates import (
    COMMAND,
    EXAMPLE_COMMENT,
    IN_RECIPES,
    INTERFACES,
    RECIPES,
    camel_case,
    check_name,
    component_text,
    package_texts,
    recipe_text,
)
from seqx.errors import UserError
from seqx.plugin.loading import load_plugins
from seqx.storage.atomic import atomic_folder, write_atomically

_COMMANDS = {
    "recipe": "seqx.commands.new_recipe:new_recipe",
    "component": "seqx.commands.new:new_component",
    "plugin": "seqx.commands.new:new_plugin",
}


class _NewGroup(click.Group):
    """The commands of `seqx new`; their names `component` and `plugin` may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the name of the command that writes a component or a plugin."""
        if args and args[0] not in (*_COMMANDS, *ctx.help_option_names):
            has_interface = args[0] in INTERFACES or (len(args) > 1 and not args[1].startswith("-"))
            args = ["component" if has_interface else "plugin", *args]
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


@click.group(cls=_NewGroup, epilog="Example: seqx new attention my_attention")
def new() -> None:
    """Write a recipe for your own text, a component of your own, or a plugin, from a template.

    `seqx new INTERFACE NAME`, such as `seqx new attention mine`, is short for `seqx new component INTERFACE
    NAME`, and `seqx new NAME` for `seqx new plugin NAME`.
    """


def _check_interface(ctx: click.Context, param: click.Parameter, interface: str) -> str:
    if interface not in INTERFACES:
        similar = difflib.get_close_matches(interface.lower(), INTERFACES, 1)
        hint = f"did you mean {similar[0]!r}?" if similar else f"choose one of {', '.join(INTERFACES)}"
        name = ctx.params.get("name")
        if isinstance(param, click.Argument) and name in INTERFACES:
            hint = f"did you mean `seqx new {name} {interface}`?"
        raise click.BadParameter(f"there is no interface {interface!r}; {hint}")
    return interface


@click.command(name="component", epilog="Example: seqx new attention my_attention")
@click.argument("interface", metavar="INTERFACE", callback=_check_interface)
@click.argument("name", is_eager=True)  # so that `_check_interface` knows it
@click.option(
    "--folder",
    metavar="DIR",
    type=OutputPath(),
    default=Path(),
    help="Folder of the files.  [default: the current folder]",
)
def new_component(interface: str, name: str, *, folder: Path) -> None:
    """Write a component of your own: NAME.py, and NAME.yaml, a recipe that trains with it.

    Change the component to suit your needs. `seqx check NAME.py` checks that it obeys the laws of its
    interface. Commands, and components that recipes do not name, such as exporters, work only in an installed
    plugin. For these, a plugin is written, as with `seqx new plugin NAME --interface INTERFACE`.
    """
    if interface not in IN_RECIPES:
        _write_plugin(name, interface, folder / f"seqx-{name}")
        return
    check_name(name, load_plugins(), module=name, interface=interface)
    has_recipe = interface in RECIPES
    texts = {folder / f"{name}.py": _with_advice(interface, name)}
    if has_recipe:
        texts[folder / f"{name}.yaml"] = recipe_text(interface, name, f"{name}.py")
    for file in texts:
        if file.exists() or file.is_symlink():
            raise UserError(f"{file}: exists already; choose another name, or another --folder")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be created ({error.strerror}); name another --folder") from None
    for file, text in texts.items():
        write_atomically(file, text)
    module, recipe = (shlex.quote(str(folder / f"{name}{suffix}")) for suffix in (".py", ".yaml"))
    click.echo(f"{module}: the {camel_case(interface)} {name}. Next steps:")
    click.echo(f"  {shell_name()} check {module}")
    if has_recipe:
        click.echo(f"  {shell_name()} run {recipe}")
    else:
        click.echo(f"  name the file in a recipe: plugins: [{module}]")


new_component.help = (
    f"{inspect.cleandoc(new_component.help or '')}\n\nINTERFACE is one of: {', '.join(INTERFACES)}."
)


def _with_advice(interface: str, name: str) -> str:
    lines = [f"# {EXAMPLE_COMMENT.format(name=name)}; then"]
    lines += [f"#   seqx check {name}.py    checks that it obeys the laws of its interface"]
    if interface in RECIPES:
        lines += [f"#   seqx run {name}.yaml    trains a model with it"]
    return "\n".join([*lines, "", component_text(interface, name)])


@click.command(name="plugin", epilog="Example: seqx new plugin my_attention --interface attention")
@click.argument("name")
@click.option(
    "--interface",
    metavar="INTERFACE",
    callback=_check_interface,
    default="attention",
    show_default=True,
    help="Interface of the plugin's component; see `seqx new component --help`.",
)
@click.option(
    "--folder",
    metavar="DIR",
    type=OutputPath(is_new=True),
    help="Folder of the plugin.  [default: seqx-NAME]",
)
def new_plugin(name: str, *, interface: str, folder: Path | None) -> None:
    """Create a plugin that can be installed, from a template.

    The plugin is complete: it has a component, a recipe that uses it, tests of the laws of its interface, and
    an entry point by which seqx finds it once it is installed. Change the component to suit your needs.
    """
    _write_plugin(name, interface, folder or Path(f"seqx-{name}"))


def _write_plugin(name: str, interface: str, target: Path) -> None:
    check_name(name, load_plugins(), module=f"seqx_{name}")
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: exists already; choose another name, or another --folder")
    with atomic_folder(target) as new_folder:
        for path, text in package_texts(interface, name).items():
            file = new_folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    content = "a command" if interface == COMMAND else f"a component for {camel_case(interface)}"
    click.echo(f"{target}: plugin {name}, with {content}. Next steps:")
    click.echo(f"  cd {shlex.quote(str(target))}")
    click.echo("  pip install --editable '.[dev]'")
    click.echo("  pytest")
    if interface in RECIPES:
        click.echo(f"  seqx run recipes/{name}.yaml")
