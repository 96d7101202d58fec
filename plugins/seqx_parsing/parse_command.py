"""`seqx parse`."""

import click

import seqx
from seqx_parsing.drawing import drawn
from seqx_parsing.reader import read
from seqx_parsing.task import Parsing
from seqx_parsing.words import tokenized


@click.command()
@click.option("--raw", is_flag=True, help="The lines are running text, of which words must be made first.")
@click.option("--draw", is_flag=True, help="Draw the trees.")
@seqx.stdin_command
def parse(answer: seqx.StdinCommand, *, raw: bool, draw: bool) -> None:
    """Parse standard input: line i of the output is the tree of line i.

    A line is a sentence, its words separated by spaces as a treebank separates them; with --raw it is running
    text, which NLTK's Treebank tokenizer splits: of can't it makes ca n't, of quotes `` and ''. Trees are in
    brackets, on one line each; brackets among the words become -LRB- and -RRB-. Several MODELs answer as one,
    by the mean of their probabilities. A KEY=VALUE changes a setting, as search.size=8,
    task.constrained=false, or task.tags=given for words that come with their parts of speech (barks_VBZ).

    An empty line has an empty answer. A sentence that is too long is parsed in parts, and counted on standard
    error, as are outputs that had to be made trees. With --nbest each tree is a line of its own: number of
    the input line, rank, score and tree, with tabs between them. The score, by which trees are ranked, is the
    log-probability divided by the search's length penalty. With --json there are always as many lines as
    inputs: input, output, score, logprob, and in nbest every answer.
    """
    answer(
        parse=tokenized if raw else str,
        format_answer=_drawn if draw else str,
        task=Parsing,
        one_line=not draw,
    )


def _drawn(text: str) -> str:
    return "\n".join(map(drawn, read([text], "the answer")))
