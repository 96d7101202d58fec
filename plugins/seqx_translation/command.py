"""The command `seqx translate`."""

import click

import seqx
from seqx_translation.task import Translation


@click.command(epilog="Example: seqx translate runs/wmt_en_de-sample/model < sentences.txt")
@seqx.request_options
@seqx.stdin_command
def translate(answer: seqx.StdinCommand, *, requests: seqx.RequestLines) -> None:
    """Translate standard input, one sentence per line; write one translation per line.

    Text is UTF-8 in every locale, and only a line feed ends a line. KEY=VALUE changes a setting of the
    search, for example search.size=8. Several MODELs form an ensemble that averages their probabilities. An
    empty line is answered with an empty line. Lines that are too long for the model are translated in parts;
    standard error says how many.

    With --nbest, each line is LINE (the number of the input), RANK, SCORE and TEXT, separated by tabs. With
    --json, each input is answered with one object: input, output, score, logprob and, with --nbest, nbest:
    the list of all answers.

    Constraints: a prefix may end within a word, which the translation completes; an empty prefix is no
    constraint. A phrase matches whole words only: cat does not match cats. With --json-input, each line has
    its own constraints: {"text": ..., "prefix": ..., "require": [...], "forbid": [...]}. All constraints are
    always met. If that is impossible within the search's length limit, the answer is empty, and standard
    error names the line. If a line is translated in parts, the prefix and the required phrases apply to the
    first part.

    On a terminal each line is answered immediately; otherwise 2,048 lines (or --window) are read and
    translated at a time.
    """
    answer(requests.parse, task=Translation)
    requests.check_prefixes_used()
