"""The options that let another program compute the search of a model."""

import click

from seqx.commands.component_option import component_from_option
from seqx.errors import UserError
from seqx.interfaces.exchange import Engine

engine_options = (
    click.option(
        "--engine",
        metavar="NAME",
        help="Program that computes the search, such as ctranslate2; left out: seqx. "
        "`seqx components engine` lists them.",
    ),
    click.option(
        "--compute", metavar="FORMAT", help="Number format in which the engine computes, such as int8."
    ),
)


def engine_from_options(engine: str | None, compute: str | None) -> Engine | None:
    """Return the engine that the options name; None: the search of seqx.

    Raises:
        UserError: --compute without --engine, or a name or format that does not exist
    """
    if engine is None:
        if compute is not None:
            raise UserError(f"--compute {compute} is for an engine; add --engine, or use --precision")
        return None
    settings = () if compute is None else (f"compute={compute}",)
    return component_from_option(Engine, "--engine", engine, settings)
