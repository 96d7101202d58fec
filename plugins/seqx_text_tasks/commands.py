"""The commands `seqx generate`, `seqx answer` and `seqx classify`."""

import math

import click

import seqx
from seqx_text_tasks.classification import Classification
from seqx_text_tasks.language_model import LanguageModel
from seqx_text_tasks.text_to_text import TextToText


@click.command(epilog="Example: seqx generate runs/language_model-sample/model < prompts.txt")
@seqx.stdin_command
def generate(answer: seqx.StdinCommand) -> None:
    """Continue each line of standard input with a language model; write one line per input.

    Each output begins with its input and ends where the model ends the line. KEY=VALUE changes a setting of
    the search, for example search.temperature=0.7 or search.seed=2, or the search itself (search=greedy).
    Several MODELs form an ensemble that averages their probabilities. An empty line is answered with an empty
    line.

    With --nbest, which needs beam search, each line is LINE (the number of the input), RANK, SCORE and TEXT,
    separated by tabs. With --json, each input is answered with one object: input, output, score and logprob
    of the continuation and, with --nbest, nbest: the list of all answers.
    """
    answer(task=LanguageModel)


@click.command(epilog="Example: seqx answer runs/text_to_text-sample/model < texts.txt")
@seqx.stdin_command
def answer(answer: seqx.StdinCommand) -> None:
    """Answer each line of standard input with a text-to-text model; write one line per input.

    If the model reads several columns, such as a question and its context, they are separated by tabs. If it
    reads one column, tabs are replaced by spaces. KEY=VALUE changes a setting of the search, for example
    search.size=8. Several MODELs form an ensemble that averages their probabilities. An empty line is
    answered with an empty line.

    If the task truncates long inputs, standard error says how many were truncated. --nbest and --json work as
    in `seqx generate`.
    """
    answer(task=TextToText)


@click.command(epilog="Example: seqx classify runs/sentiment-sample/model < sentences.txt")
@seqx.stdin_command
def classify(answer: seqx.StdinCommand) -> None:
    """Classify each line of standard input; write one label per line.

    With --nbest, each line is LINE (the number of the input), RANK, PROBABILITY and LABEL, separated by tabs.
    With --json, each input is answered with one object: input, output, score, logprob and, with --nbest,
    nbest: the list of all answers. Several MODELs form an ensemble that averages their probabilities. An
    empty line is answered with an empty line.

    If the task truncates long inputs, standard error says how many were truncated.
    """
    answer(task=Classification, format_score=lambda hypothesis: f"{math.exp(hypothesis.logprob):.4f}")
