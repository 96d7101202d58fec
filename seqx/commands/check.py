"""`seqx check`."""

from collections.abc import Sequence

import click

from seqx.cli import MISTAKE, say
from seqx.commands.arguments import parted
from seqx.commands.opening import opened, profile
from seqx.errors import UserError
from seqx.experiment import parameters
from seqx.training.preflight import examined


@click.command()
@click.argument("arguments", metavar="RECIPE... [KEY=VALUE...]", nargs=-1, required=True)
@profile
@click.pass_context
def check(ctx: click.Context, /, arguments: Sequence[str], profile: str | None) -> None:
    """Report every problem of recipes, or their parameters.

    Exit code 2 when there is one.
    """
    recipes, overrides = parted(arguments)
    if not recipes:
        raise click.UsageError("name a recipe before its KEY=VALUE", ctx)
    problems = []
    for recipe in recipes:
        try:
            count = parameters(examined(opened(recipe, profile, overrides).made))
        except UserError as error:
            problems.append(error)
        else:
            click.echo(f"{recipe}: {count:,} parameters")
    if len(problems) == 1:
        raise problems[0]
    if problems:
        say("\n".join(map(str, problems)))
        ctx.exit(MISTAKE)
