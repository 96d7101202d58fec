"""The command `seqx trees silver`: build a training set from trees that several parsers agree on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click

import seqx
from seqx_parsing.agreement import ParserAgreement
from seqx_parsing.running_text import sentence_splitter, text_options, tokenizer
from seqx_parsing.task import Parsing
from seqx_parsing.words import split_words

WINDOW = 2048
"""Number of sentences that are read before they are parsed together, in batches of similar length."""


class _Parser(NamedTuple):
    """The functions of a parser that the command uses."""

    parse: Callable[[Sequence[str]], Iterable[seqx.NBest]]  # returns the trees of each sentence
    fits: Callable[[str], bool]  # returns true if the model can parse the sentence in one part


@click.command(
    epilog="Example: seqx trees silver runs/first/model runs/second/model < sentences.txt > silver.trees"
)
@click.argument("arguments", metavar="MODEL MODEL... [KEY=VALUE...]", nargs=-1, required=True)
@text_options
@click.option("--min-words", type=click.IntRange(1), metavar="N", help="Skip sentences of fewer words.")
@click.option("--max-words", type=click.IntRange(1), metavar="N", help="Skip sentences of more words.")
@seqx.device_option
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp32", "int8"]),
    default="auto",
    show_default=True,
    help="Number format of matrix products; auto: bf16 if the device has units for it, else fp32. int8 is "
    "for CPUs only.",
)
@click.option("--batch-tokens", type=click.IntRange(1), metavar="N", help="Maximum padded tokens per batch.")
@seqx.trust_option
def silver(
    arguments: Sequence[str],
    *,
    raw: bool,
    language: str,
    sentences: bool,
    min_words: int | None,
    max_words: int | None,
    device: str,
    precision: Literal["auto", "bf16", "fp32", "int8"],
    batch_tokens: int | None,
    trust_local_plugins: bool,
) -> None:
    """Parse standard input with several models; write the trees that all of them agree on.

    The input has one sentence per line, or with --sentences several, as for `seqx parse`. Different
    parsers (other linearisations, other training data) rarely make the same mistake, so the trees they
    agree on are good enough to train another parser (Vinyals et al. 2015, section 3.1). Models agree if
    all brackets and labels are the same; part-of-speech tags are those of the first model. KEY=VALUE
    changes a setting of all models, for example search.size=1.

    Empty lines and sentences that are too long for a model are skipped. Standard error reports the number of
    sentences, how many the models agree on, and their average pairwise F1 (EVALB).
    """
    models, overrides = seqx.split_overrides(arguments)
    if len({Path(model).resolve() for model in models}) < max(2, len(models)):
        raise click.UsageError("name at least two different models: a model always agrees with itself")
    load = partial(
        seqx.load,
        device=device,
        precision=precision,
        overrides=overrides,
        batch_tokens=batch_tokens,
        trust_local_plugins=trust_local_plugins,
    )
    parsers = [_parser(model, load) for model in models]
    longest = float("inf") if max_words is None else max_words
    agreement, skipped = ParserAgreement(), 0
    warnings: list[list[seqx.AnswerWarning]] = [[] for _ in parsers]  # summed per parser
    tokenize = tokenizer(language) if raw or sentences else str
    inputs = _sentences(tokenize, sentence_splitter(language) if sentences else iter)
    try:
        while window := list(islice(inputs, WINDOW)):
            kept = [
                line
                for line in window
                if (min_words or 1) <= len(split_words(line)) <= longest
                and all(parser.fits(line) for parser in parsers)
            ]
            skipped += len(window) - len(kept)
            parsed = [[*parser.parse(kept)] for parser in parsers]
            for i, nbests in enumerate(parsed):
                warnings[i] = seqx.sum_warnings([seqx.NBest(warnings=warnings[i]), *nbests])
            for answers in zip(*parsed, strict=True):
                tree = agreement.add([nbest.text for nbest in answers])
                if tree is not None:
                    click.echo(tree)
    finally:  # also after an error or an interruption
        click.echo(agreement, err=True)
        if skipped:
            subject, owner = ("sentences were", "their") if skipped > 1 else ("sentence was", "its")
            click.echo(f"{skipped:,} {subject} skipped because of {owner} length", err=True)
        for model, summed in zip(models, warnings, strict=True):
            for warning in summed:
                if warning.count:
                    click.echo(f"{model}: {warning}", err=True)


def _parser(model: str, load: Callable[[str], Any]) -> _Parser:
    predictor = load(model)
    task = predictor.task
    if not isinstance(task, Parsing):
        raise seqx.UserError(f"{model}: the task of this model is not parsing; name models that parse")

    def fits(line: str) -> bool:
        return len(task.read(line)["source"]) <= int(predictor.max_length)

    return _Parser(predictor.hypotheses, fits)


def _sentences(
    tokenize: Callable[[str], str], split: Callable[[Iterator[str]], Iterator[str]]
) -> Iterator[str]:
    """Yield the non-empty sentences of standard input, split into words."""
    for line in split(seqx.read_standard_input()):
        sentence = tokenize(line)
        if split_words(sentence):
            yield sentence
