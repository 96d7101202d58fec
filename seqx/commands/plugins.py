"""The command `seqx plugins`."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

import click

from seqx.cli import plugin_commands
from seqx.plugin.installed import origin
from seqx.plugin.loading import Fault, Plugin, load_plugins, package, package_path


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print plugins, faults and commands as one JSON object."
)
@click.pass_context
def plugins(ctx: click.Context, /, *, as_json: bool) -> None:
    """List the installed plugins, their components and commands.

    Print the version, distribution and folder of each plugin, its components by interface, the interfaces
    that it defines, and its commands. Print the error of a plugin that failed to load; `seqx --debug plugins`
    shows the traceback.
    """
    loaded = load_plugins()
    by_name, ignored = plugin_commands()
    commands = {name: entries[0] for name, entries in by_name.items()}
    debug = bool(ctx.find_root().params.get("debug"))
    described = [_describe_plugin(plugin, commands.values()) for plugin in loaded.loaded]
    loaded_commands = {name for plugin in described for name in plugin["commands"]}
    failed = [_describe_fault(fault, trace=debug) for fault in loaded.faults]
    without_plugin = {
        name: origin(entry)[1] for name, entry in sorted(commands.items()) if name not in loaded_commands
    }
    overridden = {entry.name: origin(entry)[1] for entry in ignored}
    if as_json:
        report = {"plugins": described, "faults": failed, "commands": without_plugin, "ignored": overridden}
        click.echo(json.dumps(report, indent=2))
        return
    if not described and not failed:
        click.echo("No plugin is installed, not even those of seqx; install seqx again from its checkout.")
    for plugin in described:
        click.echo(_format(plugin))
    for fault in failed:
        click.echo(f"{fault['name']} {fault['version']}, from {fault['from']}: did not load")
        click.echo(textwrap.indent((fault.get("traceback") or fault["error"]).rstrip(), "  "))
    for name, source in without_plugin.items():
        click.echo(f"command {name}, from {source}, whose package has no loaded components")
    for name, source in overridden.items():
        click.echo(
            f"command {name}, from {source}, is ignored: seqx has a command of this name; uninstall it"
        )


def _describe_plugin(plugin: Plugin, commands: Iterable[EntryPoint]) -> dict[str, Any]:
    components: dict[str, list[str]] = {}
    for component in plugin.components:
        components.setdefault(component.interface.__name__, []).append(component.name)
    folder = package_path(plugin.module)
    command_names = [entry.name for entry in commands if package(entry.module) == package(plugin.module)]
    return {
        "name": plugin.name,
        "version": plugin.version,
        "from": plugin.source,
        "path": str(folder) if folder else None,
        "components": components,
        "interfaces": plugin.interfaces,
        "commands": sorted(command_names),
    }


def _describe_fault(fault: Fault, *, trace: bool) -> dict[str, Any]:
    plain = {"name": fault.name, "version": fault.version, "from": fault.source, "error": fault.error}
    return {**plain, "traceback": fault.trace} if trace else plain


def _format(plugin: Mapping[str, Any]) -> str:
    path = f", {plugin['path']}" if plugin["path"] else ""
    lines = [f"{plugin['name']} {plugin['version']}, from {plugin['from']}{path}"]
    lines += [
        f"  {name}{' (defined by this plugin)' * (name in plugin['interfaces'])}: {', '.join(components)}"
        for name, components in plugin["components"].items()
    ]
    if plugin["commands"]:
        lines.append(f"  commands: {', '.join(plugin['commands'])}")
    return "\n".join(lines)
