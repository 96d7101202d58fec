"""`seqx translate`."""

from pathlib import Path

import click

import seqx
from seqx_translation.requests import Requests
from seqx_translation.task import Translation


@click.command()
@click.option(
    "--prefix",
    "prefixes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="How translations begin: line i of FILE is for line i.",
)
@click.option(
    "--prefix-all", default="", metavar="TEXT", help="How every translation begins that has no other prefix."
)
@click.option(
    "--require", multiple=True, metavar="PHRASE", help="Occurs in every translation; may be repeated."
)
@click.option("--forbid", multiple=True, metavar="PHRASE", help="Occurs in no translation; may be repeated.")
@click.option("--json-input", is_flag=True, help="Lines are JSON objects: text, and prefix, require, forbid.")
@seqx.stdin_command
def translate(
    answer: seqx.StdinCommand,
    *,
    prefixes: Path | None,
    prefix_all: str,
    require: tuple[str, ...],
    forbid: tuple[str, ...],
    json_input: bool,
) -> None:
    """Translate standard input: line i of the output answers line i.

    Text is UTF-8 whatever the locale says, and only a line feed ends a line. Several MODELs answer as one, by
    the mean of their probabilities. A KEY=VALUE changes a setting of the search, as search.size=8.

    An empty line has an empty answer. A line that is too long is translated in parts, and counted on standard
    error. With --nbest each answer is a line of its own: number of the input line, rank, score and text,
    with tabs between them. With --json there are always as many lines as inputs: input, output, score,
    logprob, and in nbest every answer.

    A prefix may end within a word, which the translation completes; an empty one asks for nothing. A phrase
    occurs where no word goes on beyond its edges: cat is not in cats. With --json-input a line has what is
    asked of it alone: {"text": ..., "prefix": ..., "require": [...], "forbid": [...]}. All that is asked is
    always met; a line of which it cannot be within the search's limit has an empty answer, and is named on
    standard error. Of a line translated in parts the first has the prefix and what is required.

    From a terminal each line is answered at once; else 2,048 are read at a time, or --window.
    """
    requests = Requests(
        prefix=prefix_all, prefixes=prefixes, require=require, forbid=forbid, as_json=json_input
    )
    answer(requests.read, task=Translation)
    requests.finish()
