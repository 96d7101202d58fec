"""The command `seqx spell`."""

import click
import seqx

from seqx_spelling.task import Spelling


@click.command()
@seqx.stdin_command
def spell(answer: seqx.StdinCommand) -> None:
    """Correct misspelt words, one per line of standard input.

    Line i of the output is the correction of line i. With --nbest 3 it has the three most probable words.
    """
    answer(task=Spelling)
