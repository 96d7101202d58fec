"""The command `seqx parse`."""

import click

import seqx
from seqx_parsing.formats import FORMATS
from seqx_parsing.reader import read
from seqx_parsing.running_text import sentence_splitter, text_options, tokenizer
from seqx_parsing.task import Parsing


@click.command(epilog="Example: seqx parse --raw --draw runs/wsj_parsing-sample/model < sentences.txt")
@text_options
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS]),
    help="Format of the trees; brackets by default.",
)
@click.option("--draw", is_flag=True, help="Short for --format drawing.")
@seqx.request_options
@seqx.stdin_command
def parse(
    answer: seqx.StdinCommand,
    *,
    raw: bool,
    language: str,
    sentences: bool,
    form: str | None,
    draw: bool,
    requests: seqx.RequestLines,
) -> None:
    """Parse sentences from standard input, one per line; write one tree per line.

    Words are separated by spaces, as in a treebank. With --raw, lines are running text, split by NLTK's
    Treebank tokenizer (can't becomes ca n't, quotes become `` and ''), and in other languages by the
    rules of Moses. With --sentences, a line may have several sentences, which the package sentencex
    separates. Trees are written in brackets; brackets that are words become -LRB- and -RRB-. An empty
    line is answered with an empty line.

    Several MODELs form an ensemble that averages their probabilities. KEY=VALUE changes a setting, for
    example search.size=8, task.constrained=false, or task.tags=given for input with part-of-speech tags
    (barks_VBZ).

    Sentences that are too long for the model are parsed in parts; standard error says how many. It also says
    how many outputs were not valid trees and had to be repaired, and how many inputs look like running text.

    The formats svg (an image) and latex (an environment of the package forest) also have one line per tree.
    In the others, an empty line follows each tree: conll has one line per word with the columns of
    CoNLL-2012; spans has one line per constituent with label, first word from 0, word after the last, and
    words, separated by tabs; drawing consists of text characters.

    Constraints consist of the symbols that the model writes, separated by spaces; `seqx trees convert` shows
    them. For example, --require '(PP' demands a prepositional phrase, --forbid '(FRAG' excludes fragments,
    and --prefix-all '(S (NP XX XX )NP' makes the first two words a noun phrase. If the model has no tree that
    meets them, the answer is empty, and standard error names the line. Phrases with a symbol that the model
    cannot write are refused.

    With --nbest, each line is LINE (the number of the input), RANK, SCORE and TREE, separated by tabs. Trees
    are ranked by the score: the log-probability divided by the length penalty of the search. With --json,
    each input is answered with one object: input, output, score, logprob, tree and, with --nbest, nbest: the
    list of all answers. A tree has label, span (words from 0, end excluded) and children, in every format of
    the output.
    """
    if sentences and requests.as_json:
        raise click.UsageError("--sentences cannot be combined with --json-input")
    if draw and form:
        raise click.UsageError("--draw is short for --format drawing; use only one of both")
    chosen = FORMATS["drawing" if draw else form or "brackets"]
    answer(
        parse=requests.parse,
        format_answer=lambda text: "\n".join(map(chosen.write, read([text], "the answer"))),
        task=Parsing,
        one_line=chosen.one_line,
        group_lines=sentence_splitter(language) if sentences else iter,
        prepare=tokenizer(language) if raw or sentences else None,
    )
    requests.check_prefixes_used()
