"""`seqx trees silver`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click

import seqx
from seqx_parsing.agreement import Agreement
from seqx_parsing.task import Parsing
from seqx_parsing.words import split, tokenized

WINDOW = 2048
"""Sentences that are read before the first is parsed; sorted by length, they make full batches."""


class Parser(NamedTuple):
    """A model that parses."""

    parse: Callable[[Sequence[str]], Iterable[seqx.NBest]]  # the trees of each sentence
    fits: Callable[[str], bool]  # true if it parses a sentence in one piece


@click.command()
@click.argument("arguments", metavar="MODEL MODEL... [KEY=VALUE...]", nargs=-1, required=True)
@click.option("--raw", is_flag=True, help="The lines are running text, of which words must be made first.")
@click.option("--min-words", type=click.IntRange(1), metavar="N", help="Leave shorter sentences out.")
@click.option("--max-words", type=click.IntRange(1), metavar="N", help="Leave longer sentences out.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto", show_default=True)
@click.option("--batch-tokens", type=click.IntRange(1), metavar="N", help="Places of a batch.")
@click.option("--trust-local-plugins", is_flag=True, help="Run the Python files that models name as plugins.")
def silver(
    arguments: Sequence[str],
    *,
    raw: bool,
    min_words: int | None,
    max_words: int | None,
    device: str,
    precision: Literal["auto", "bf16", "fp32"],
    batch_tokens: int | None,
    trust_local_plugins: bool,
) -> None:
    """Parse standard input with each model, and write the trees on which all agree, one a line.

    A line is a sentence as for `seqx parse`. Parsers that differ (in how they write trees, in what they were
    trained on) seldom make the same mistake, so that what they agree on is good enough to train another one
    (Vinyals et al. 2015, section 3.1). To agree is to have the same brackets and labels; parts of speech are
    those of the first model. A KEY=VALUE changes a setting of all models, as search.size=1.

    Empty lines are skipped, and so are sentences that are too long for a model. Standard error says how many
    sentences there were, how many the models agree on, and how much they do: the F1 of EVALB of one against
    the other, over all pairs of models.
    """
    models, overrides = seqx.split_overrides(arguments)
    if len({Path(model).resolve() for model in models}) < max(2, len(models)):
        raise click.UsageError("name two models at least, each once: a model always agrees with itself")
    load = partial(
        seqx.load,
        device=device,
        precision=precision,
        overrides=overrides,
        batch_tokens=batch_tokens,
        trust_local_plugins=trust_local_plugins,
    )
    parsers = [_parser(model, load) for model in models]
    most = float("inf") if max_words is None else max_words
    agreement, left_out = Agreement(), 0
    warnings: list[list[seqx.AnswerWarning]] = [[] for _ in parsers]  # of each parser, summed
    sentences = _sentences(raw=raw)
    try:
        while window := list(islice(sentences, WINDOW)):
            kept = [
                line
                for line in window
                if (min_words or 1) <= len(split(line)) <= most and all(one.fits(line) for one in parsers)
            ]
            left_out += len(window) - len(kept)
            parsed = [[*one.parse(kept)] for one in parsers]
            for i, nbests in enumerate(parsed):
                warnings[i] = seqx.sum_warnings([seqx.NBest(warnings=warnings[i]), *nbests])
            for answers in zip(*parsed, strict=True):
                tree = agreement.add([nbest.text for nbest in answers])
                if tree is not None:
                    click.echo(tree)
    finally:  # whatever ended it
        click.echo(agreement, err=True)
        if left_out:
            were = "were" if left_out > 1 else "was"
            click.echo(f"{left_out:,} more {were} left out, too short or too long", err=True)
        for model, summed in zip(models, warnings, strict=True):
            for warning in summed:
                if warning.count:
                    click.echo(f"{model}: {warning}", err=True)


def _parser(model: str, load: Callable[[str], Any]) -> Parser:
    predictor = load(model)
    task = predictor.task
    if not isinstance(task, Parsing):
        raise seqx.UserError(f"{model}: this model is no parser; its task is {type(task).__name__}")

    def fits(line: str) -> bool:
        return len(task.read(line)["source"]) <= int(predictor.max_length)

    return Parser(predictor.hypotheses, fits)


def _sentences(*, raw: bool) -> Iterator[str]:
    """The lines of standard input that are not empty, their words apart."""
    for line in seqx.read_standard_input():
        sentence = tokenized(line) if raw else line
        if split(sentence):
            yield sentence
