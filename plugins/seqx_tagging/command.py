"""The command `seqx tag`."""

from collections import deque

import click

import seqx
from seqx_tagging.task import Tagging


@click.command()
@click.option("--columns", is_flag=True, help="Write one word per line with its tag, as in CoNLL files.")
@seqx.stdin_command
def tag(answer: seqx.StdinCommand, *, columns: bool) -> None:
    """Tag sentences from standard input, one per line; write the tags of one sentence per line.

    Words are separated by spaces, as in the training text. With --columns, each word is written on a line
    with its tag, separated by a tab, and an empty line ends a sentence. Several MODELs form an ensemble that
    averages their probabilities. An empty line is answered with an empty line.

    With --json, each input is answered with one object: input, output, score and logprob, the
    log-probability of all tags. Sentences that are too long for the model are tagged in parts; standard error
    says how many.
    """
    if not columns:
        answer(task=Tagging)
        return
    if answer.as_json or answer.nbest is not None:
        raise click.UsageError("--columns cannot be combined with --json or --nbest")
    sentences = deque[list[str]]()

    def remember(line: str) -> str:
        if line.split():
            sentences.append(line.split())
        return line

    def lines(tags: str) -> str:
        pairs = zip(sentences.popleft(), tags.split(" "), strict=True)
        return "".join(f"{word}\t{tag}\n" for word, tag in pairs)

    answer(parse=remember, format_answer=lines, task=Tagging, one_line=False)
