"""The command `seqx check`."""

from collections.abc import Sequence

import click

from seqx.cli import EXIT_USER_ERROR, print_error
from seqx.commands.arguments import profile_option, split_overrides
from seqx.commands.check_vocabulary import check_vocabulary
from seqx.commands.loading import load_checked
from seqx.errors import UserError
from seqx.training.preflight import build_checked, count_parameters


@click.command(epilog="Example: seqx check wmt_en_de --profile sample")
@click.argument("arguments", metavar="RECIPE|FILE.py... [KEY=VALUE...]", nargs=-1, required=True)
@profile_option
@click.pass_context
def check(ctx: click.Context, /, arguments: Sequence[str], profile: str | None) -> None:
    """Check recipes and count the parameters of their models, or check the components of a Python file.

    Print the number of parameters of each correct RECIPE, and all problems of the other recipes with file,
    line and column, or with the argument. The vocabulary of a small corpus (at most 512 KiB and 5,000
    training rows) is learned, too: this finds a `size` that is larger than the number of subwords in the
    text.

    The components of FILE.py must obey the laws of their interfaces: padding changes nothing, every parameter
    receives a gradient, and so on. The exit code is 2 if there is a problem. --profile and KEY=VALUE
    change recipes, and are refused if a FILE.py is named.
    """
    recipes, overrides = split_overrides(arguments)
    if not recipes:
        raise click.UsageError("name a recipe before KEY=VALUE", ctx)
    files = [name for name in recipes if name.endswith(".py")]
    if files and (overrides or profile):
        unused = overrides[0] if overrides else f"--profile {profile}"
        message = f"{files[0]}: {unused} changes a recipe, not a Python file; check the file without it"
        raise click.UsageError(message, ctx)
    errors = []
    for recipe in recipes:
        try:
            if recipe.endswith(".py"):
                from seqx.commands.check_laws import check_laws  # noqa: PLC0415  it imports all laws

                click.echo("\n".join(check_laws(recipe)))
                continue
            experiment = build_checked(load_checked(recipe, profile, overrides).configured)
            count, warning = count_parameters(experiment), experiment.training.schedule_warning()
            check_vocabulary(recipe, experiment)
        except UserError as error:
            errors.append(error)
        else:
            click.echo(f"{recipe}: {count:,} parameters")
            if warning is not None:
                click.echo(f"{recipe}: {warning}", err=True)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        print_error("\n".join(map(str, errors)))
        ctx.exit(EXIT_USER_ERROR)
