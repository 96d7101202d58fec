"""The options of commands that print a table of runs."""

from collections.abc import Callable
from typing import Any

import click

from seqx_runs.comparison_table import TABLE_FORMATS


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --format, --json and --all to a command."""
    command = click.option(
        "--all",
        "all_scores",
        is_flag=True,
        help="Also show the scores that explain others, such as the recall of an F1; --json always has them.",
    )(command)
    command = click.option("--json", "as_json", is_flag=True, help="Print all data as JSON.")(command)
    return click.option(
        "--format",
        "table_format",
        type=click.Choice([*TABLE_FORMATS]),
        help="Print the table alone, in this format.",
    )(command)


def check_table_options(ctx: click.Context) -> None:
    """Refuse --json together with --format.

    Raises:
        UsageError: both were passed
    """
    if ctx.params["as_json"] and ctx.params["table_format"]:
        raise click.UsageError("--json and --format exclude each other; remove one of them", ctx)
