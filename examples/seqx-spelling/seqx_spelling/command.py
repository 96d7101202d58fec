"""`seqx spell`."""

import click
import seqx

from seqx_spelling.task import Spelling


@click.command()
@seqx.stdin_command
def spell(answer: seqx.StdinCommand) -> None:
    """Mend misspelt words, one a line of standard input.

    Line i of the output answers line i. With --nbest 3 the three likeliest words are shown.
    """
    answer(task=Spelling)
