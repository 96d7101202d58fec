"""`seqx plugins`."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

import click

from seqx.cli import claimed
from seqx.plugin.loading import Fault, Plugin, home, load_plugins, origin, package


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object: plugins, faults, commands.")
@click.pass_context
def plugins(ctx: click.Context, /, *, as_json: bool) -> None:
    """The plugins: versions, what they bring, what failed.

    For each plugin: version, distribution, folder, components by interface, the interfaces that
    it defines itself, and its commands. For a plugin that did not load: the reason, and with
    `seqx --debug plugins` the traceback.
    """
    found = load_plugins()
    named, ignored = claimed()
    commands = {name: entries[0] for name, entries in named.items()}
    debug = bool(ctx.find_root().params.get("debug"))
    brought = [_plugin(plugin, commands.values()) for plugin in found.loaded]
    owned = {name for plugin in brought for name in plugin["commands"]}
    failed = [_fault(fault, trace=debug) for fault in found.faults]
    others = {name: origin(entry)[1] for name, entry in sorted(commands.items()) if name not in owned}
    unused = {entry.name: origin(entry)[1] for entry in ignored}
    if as_json:
        told = {"plugins": brought, "faults": failed, "commands": others, "ignored": unused}
        click.echo(json.dumps(told, indent=2))
        return
    if not brought and not failed:
        click.echo("No plugin is installed, not even those of seqx; install seqx again from its checkout.")
    for plugin in brought:
        click.echo(_shown(plugin))
    for fault in failed:
        click.echo(f"{fault['name']} {fault['version']}, from {fault['from']}: did not load")
        click.echo(textwrap.indent((fault.get("traceback") or fault["error"]).rstrip(), "  "))
    for name, source in others.items():
        click.echo(f"command {name}, from {source}, whose plugin is not loaded")
    for name, source in unused.items():
        click.echo(f"command {name}, from {source}, is ignored: seqx has one of this name; uninstall that")


def _plugin(plugin: Plugin, commands: Iterable[EntryPoint]) -> dict[str, Any]:
    components: dict[str, list[str]] = {}
    for component in plugin.components:
        components.setdefault(component.interface.__name__, []).append(component.name)
    place = home(plugin.module)
    ours = [entry.name for entry in commands if package(entry.module) == package(plugin.module)]
    return {
        "name": plugin.name,
        "version": plugin.version,
        "from": plugin.source,
        "path": str(place) if place else None,
        "components": components,
        "interfaces": plugin.interfaces,
        "commands": sorted(ours),
    }


def _fault(fault: Fault, *, trace: bool) -> dict[str, Any]:
    about = {"name": fault.name, "version": fault.version, "from": fault.source, "error": fault.error}
    return {**about, "traceback": fault.trace} if trace else about


def _shown(plugin: Mapping[str, Any]) -> str:
    place = f", {plugin['path']}" if plugin["path"] else ""
    lines = [f"{plugin['name']} {plugin['version']}, from {plugin['from']}{place}"]
    lines += [
        f"  {interface}{' (its own interface)' * (interface in plugin['interfaces'])}: {', '.join(names)}"
        for interface, names in plugin["components"].items()
    ]
    if plugin["commands"]:
        lines.append(f"  commands: {', '.join(plugin['commands'])}")
    return "\n".join(lines)
