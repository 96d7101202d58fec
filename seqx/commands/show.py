"""`seqx show`."""

from collections.abc import Sequence

import click

from seqx import recipe as recipes
from seqx.commands.opening import opened, profile


@click.command()
@click.argument("recipe")
@click.argument("overrides", metavar="[KEY=VALUE...]", nargs=-1)
@profile
def show(recipe: str, overrides: Sequence[str], profile: str | None) -> None:
    """A recipe with everything filled in, and where from.

    What it prints is itself a recipe.
    """
    click.echo(recipes.show(opened(recipe, profile, overrides).made), nl=False)
