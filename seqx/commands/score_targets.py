"""Print the log-probabilities that a model assigns to given targets: `seqx score --model`."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

import click

from seqx.errors import UserError
from seqx.inference import Predictor
from seqx.interfaces.scores import AnswerWarning, perplexity
from seqx.interfaces.task import Example
from seqx.storage.json_format import json_text
from seqx.storage.text_lines import read_lines


@dataclass(frozen=True)
class ScoredTarget:
    """Line i of each file, and the tokens of the target with their log-probabilities.

    Both lists of a target that cannot be scored are empty.
    """

    texts: Sequence[str]  # source and target, or the target alone
    symbols: Sequence[str]
    logprobs: Sequence[float]

    @property
    def logprob(self) -> float | None:
        """The natural log-probability of the target; None if it cannot be scored."""
        return math.fsum(self.logprobs) if self.symbols else None


def print_target_scores(predictor: Predictor, files: Sequence[Path], *, tokens: bool, as_json: bool) -> None:
    """Print the log-probability of each target, and a summary on standard error.

    Args:
        predictor: the model
        files: the files of sources and targets, or of targets alone
        tokens: print the log-probability of each token
        as_json: print JSON lines
    """
    count = scored = num_tokens = 0
    total = 0.0
    for count, target in enumerate(score_targets(predictor, files), 1):
        scored += bool(target.symbols)
        num_tokens += len(target.symbols)
        total += math.fsum(target.logprobs)
        if as_json:
            click.echo(_format_json(target, with_tokens=tokens))
        elif tokens:
            click.echo(_format_tokens(count, target), nl=False)
        else:
            click.echo("nan" if target.logprob is None else f"{target.logprob:.4f}")
    if scored < count:
        message = f"targets cannot be scored: they are empty, or have more than {predictor.max_length} tokens"
        click.echo(AnswerWarning(message, count - scored, count), err=True)
    if num_tokens:
        click.echo(
            f"log-probability {total:.4f} of {scored:,} targets with {num_tokens:,} tokens; "
            f"perplexity {perplexity(-total / num_tokens):.5g} per token",
            err=True,
        )


def score_targets(predictor: Predictor, files: Sequence[Path]) -> Iterator[ScoredTarget]:
    """Yield the scored target of each line, in the order of the lines.

    Raises:
        UserError: the files cannot be read or have different numbers of lines, or the task cannot read a line
    """
    remaining = enumerate(parallel_lines(files), 1)
    while window := list(islice(remaining, predictor.window)):
        rows = [scored_example(predictor, files, number, texts) for number, texts in window]
        examples = [example for example in rows if example is not None]
        logprobs = iter(predictor.token_logprobs(examples))
        for (_, texts), example in zip(window, rows, strict=True):
            values = None if example is None else next(logprobs)
            if example is None or values is None:
                yield ScoredTarget(texts, [], [])
            else:
                yield ScoredTarget(texts, predictor.symbols("target", example.columns["target"]), values)


def parallel_lines(files: Sequence[Path]) -> Iterator[tuple[str, ...]]:
    """Yield line i of each file, for each i.

    Raises:
        UserError: a file cannot be read, or the files have different numbers of lines
    """
    for number, texts in enumerate(zip_longest(*map(read_lines, files)), 1):
        if None in texts:
            short = files[texts.index(None)]
            raise UserError(
                f"{short}: has {number - 1:,} lines, fewer than another file; line i of one file belongs to "
                "line i of the others"
            )
        yield texts


def scored_example(
    predictor: Predictor, files: Sequence[Path], number: int, texts: Sequence[str]
) -> Example | None:
    """Return the example of line `number` of the files; None if the task rejects it or its target is empty.

    Raises:
        UserError: the task cannot read the texts
    """
    try:
        example = predictor.task.scored_example(texts)
    except UserError as error:
        raise UserError(f"{files[-1]}:{number}: {error}") from None
    return example if isinstance(example, Example) and len(example.columns["target"]) else None


def _format_tokens(number: int, target: ScoredTarget) -> str:
    """Return a row for each token: line, position, symbol, log-probability, separated by tabs."""
    rows = zip(target.symbols, target.logprobs, strict=True)
    return "".join(
        f"{number}\t{position}\t{' '.join(symbol.split()) or symbol!r}\t{logprob:.4f}\n"
        for position, (symbol, logprob) in enumerate(rows, 1)
    )


def _format_json(target: ScoredTarget, *, with_tokens: bool) -> str:
    row: dict[str, object] = dict(zip(("target", "source"), reversed(target.texts), strict=False))
    row["logprob"] = target.logprob
    if with_tokens:
        rows = zip(target.symbols, target.logprobs, strict=True)
        row["tokens"] = [{"symbol": symbol, "logprob": logprob} for symbol, logprob in rows]
    return json_text(row, ensure_ascii=False)
