"""`seqx plugins`."""

import textwrap
from collections.abc import Sequence

import click

from seqx.plugins import load
from seqx.registry import Component


@click.command()
@click.pass_context
def plugins(ctx: click.Context) -> None:
    """The plugins: versions, what they bring, what failed."""
    found = load()
    if not found.loaded and not found.faults:
        click.echo('No plugin is installed; "pip install seqx" brings the first ones.')
    for plugin in found.loaded:
        click.echo(f"{plugin.name} {plugin.version}, from {plugin.source}")
        for kind, names in _by_kind(plugin.components).items():
            click.echo(f"  {kind}: {', '.join(names)}")
    for fault in found.faults:
        click.echo(f"{fault.name} {fault.version}, from {fault.source}: did not load")
        trace = ctx.find_root().params.get("debug")
        click.echo(textwrap.indent((fault.trace if trace else fault.error).rstrip(), "  "))


def _by_kind(components: Sequence[Component]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for component in components:
        found.setdefault(component.kind.__name__, []).append(component.name)
    return found
