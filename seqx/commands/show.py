"""The command `seqx show`."""

from collections.abc import Sequence

import click

from seqx import recipe as recipes
from seqx.commands.arguments import profile_option
from seqx.commands.loading import load_checked


@click.command(epilog="Example: seqx show wmt_en_de --profile sample")
@click.argument("recipe")
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@profile_option
def show(recipe: str, overrides: Sequence[str], profile: str | None) -> None:
    """Print the resolved recipe and where each value came from.

    The output has all settings, and is a recipe itself.
    """
    click.echo(recipes.show(load_checked(recipe, profile, overrides).configured), nl=False)
