"""`seqx generate`, `seqx answer` and `seqx classify`."""

import math

import click

import seqx
from seqx_text_tasks.classification import Classification
from seqx_text_tasks.language_model import LanguageModel
from seqx_text_tasks.text_to_text import TextToText


@click.command()
@seqx.stdin_command
def generate(answer: seqx.StdinCommand) -> None:
    """Continue standard input: line i of the output begins with line i.

    A language model goes on from each line to the end of a line, with the search of its recipe: a KEY=VALUE
    changes a setting, as search.temperature=0.7 or search.seed=2, or the search itself, as search=greedy.
    Several MODELs write as one, by the mean of their probabilities.

    An empty line has an empty answer. With --nbest (which needs a beam) each answer is a line of its own:
    number of the input line, rank, score and text, with tabs between them. With --json there are always as
    many lines as inputs: input, output, score, logprob (both of what follows the input), and in nbest every
    answer.
    """
    answer(task=LanguageModel)


@click.command()
@seqx.stdin_command
def answer(answer: seqx.StdinCommand) -> None:
    """Answer standard input by a text-to-text model: line i of the output answers line i.

    Where the model reads several columns of a corpus, as a question and its context, a line has them with
    tabs between; where it reads one column, a tab is a space. A KEY=VALUE changes a setting of the search, as
    search.size=8. Several MODELs answer as one, by the mean of their probabilities.

    An empty line has an empty answer. Lines whose ends were not read, where the task cuts long ones, are
    counted on standard error. --nbest and --json are as of `seqx generate`.
    """
    answer(task=TextToText)


@click.command()
@seqx.stdin_command
def classify(answer: seqx.StdinCommand) -> None:
    """Label standard input: line i of the output is the label of line i.

    With --nbest the N likeliest labels are lines of their own: number of the input line, rank, probability
    and label, with tabs between them; it needs a beam of that size, as search.size=8. With --json there are
    always as many lines as inputs: input, output, score, logprob, and in nbest every answer. Several MODELs
    label as one, by the mean of their probabilities.

    An empty line has an empty answer. Lines whose ends were not read, where the task cuts long ones, are
    counted on standard error.
    """
    answer(task=Classification, format_score=lambda hypothesis: f"{math.exp(hypothesis.logprob):.4f}")
