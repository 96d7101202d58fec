"""The command `seqx parse`."""

import click

import seqx
from seqx_parsing.drawing import draw_tree
from seqx_parsing.reader import read
from seqx_parsing.task import Parsing
from seqx_parsing.words import tokenize


@click.command()
@click.option("--raw", is_flag=True, help="Input is running text: split it into words first.")
@click.option("--draw", is_flag=True, help="Draw the trees instead of writing brackets.")
@seqx.stdin_command
def parse(answer: seqx.StdinCommand, *, raw: bool, draw: bool) -> None:
    """Parse sentences from standard input, one per line; write one tree per line.

    Words are separated by spaces, as in a treebank. With --raw, lines are running text, split by NLTK's
    Treebank tokenizer (can't becomes ca n't, quotes become `` and ''). Trees are written in brackets;
    brackets that are words become -LRB- and -RRB-. An empty line is answered with an empty line.

    Several MODELs form an ensemble that averages their probabilities. KEY=VALUE changes a setting, for
    example search.size=8, task.constrained=false, or task.tags=given for input with part-of-speech tags
    (barks_VBZ).

    Sentences that are too long for the model are parsed in parts; standard error says how many. It also says
    how many outputs were not valid trees and had to be repaired.

    With --nbest, each line is LINE (the number of the input), RANK, SCORE and TREE, separated by tabs. Trees
    are ranked by the score: the log-probability divided by the length penalty of the search. With --json,
    each input is answered with one object: input, output, score, logprob and, in nbest, all answers.
    """
    answer(
        parse=tokenize if raw else str,
        format_answer=_draw if draw else str,
        task=Parsing,
        one_line=not draw,
    )


def _draw(text: str) -> str:
    return "\n".join(map(draw_tree, read([text], "the answer")))
