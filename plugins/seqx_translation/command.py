"""`seqx translate`."""

import click

import seqx


@click.command()
@seqx.answering
def translate(answer: seqx.Answering) -> None:
    """Translate standard input: line i of the output answers line i.

    Text is UTF-8 whatever the locale says, and only a line feed ends a line. Several MODELs answer as one, by
    the mean of their probabilities. A KEY=VALUE changes a setting of the search, as search.size=8.

    An empty line has an empty answer. A line that is too long is translated in parts, and counted on standard
    error. With --nbest each answer is a line of its own: number of the input line, rank, score and text,
    with tabs between them. With --json there are always as many lines as inputs: input, output, score,
    logprob, and in nbest every answer.

    From a terminal each line is answered at once; else 2,048 are read at a time, or --window.
    """
    answer()
