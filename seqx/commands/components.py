"""The command `seqx components`."""

from collections.abc import Iterable
from typing import Any

import click

from seqx.commands.listing_cache import from_cache
from seqx.errors import UserError
from seqx.recipe.files import load
from seqx.recipe.suggestions import hint, nearest


@click.command(epilog="Example: seqx components attention multihead")
@click.argument("interface", required=False)
@click.argument("name", required=False)
@click.option("--recipe", metavar="RECIPE", help="Include the local plugins of this recipe.")
def components(interface: str | None, name: str | None, *, recipe: str | None) -> None:
    """List components and explain their settings.

    Without arguments, list all interfaces and their components. With an INTERFACE, such as attention, list
    its components with their summaries. With an INTERFACE and the NAME of a component, explain its settings.
    """
    files = [] if recipe is None else [*load(recipe).plugins]
    interfaces: dict[str, Any] = from_cache("components", files, lambda: _listing(recipe))
    if interface is None:
        for title, each in interfaces.items():
            click.echo(f"{title}: {', '.join(each['components'])}")
        return
    title = _title(interface, interfaces)
    known = interfaces[title]["components"]
    if name is None:
        click.echo(f"{title}: {interfaces[title]['summary']}\n")
        width = max(map(len, known))
        for each, texts in known.items():
            click.echo(f"{each:<{width}}  {texts['summary']}")
        return
    if name not in known:
        advice = (
            "" if recipe or nearest(name, known) else "; --recipe RECIPE includes the plugins of a recipe"
        )
        raise UserError(f"no {title} is called {name!r}{hint(name, known)}{advice}")
    click.echo(known[name]["text"])


def _listing(recipe: str | None) -> tuple[dict[str, Any], bool]:
    """Return the texts about all components, and true if they may be stored: no plugin failed to load."""
    from seqx.commands.component_texts import listing  # noqa: PLC0415  these modules import torch
    from seqx.commands.loading import load_with_plugins  # noqa: PLC0415
    from seqx.plugin.loading import load_plugins  # noqa: PLC0415

    plugins = load_plugins() if recipe is None else load_with_plugins(recipe)[1]
    return listing(plugins.registry), not plugins.faults


def _title(argument: str, interfaces: Iterable[str]) -> str:
    """Return the interface of a class name; ignore case and underscores."""
    folded = argument.replace("_", "").lower()
    for title in interfaces:
        if title.lower() == folded:
            return title
    raise UserError(f"no interface is called {argument!r}{hint(argument, interfaces)}")
