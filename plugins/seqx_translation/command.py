"""`seqx translate`."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Literal

import click

import seqx

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@click.command()
@click.argument("arguments", metavar="MODEL... [KEY=VALUE...]", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with scores.")
@click.option(
    "--nbest", type=click.IntRange(1), metavar="N", help="The N best answers: LINE, RANK, SCORE, TEXT."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto", show_default=True)
@click.option(
    "--batch-tokens", type=click.IntRange(1), metavar="N", help="Places of a batch; less needs less memory."
)
@click.option(
    "--window", type=click.IntRange(1), metavar="N", help="Lines read before the first is answered."
)
@click.option(
    "--trust-local-plugins", is_flag=True, help="Run the Python files that a model names as plugins."
)
@click.pass_context
def translate(
    ctx: click.Context,
    /,
    arguments: Sequence[str],
    *,
    as_json: bool,
    nbest: int | None,
    device: str,
    precision: Literal["auto", "bf16", "fp32"],
    batch_tokens: int | None,
    window: int | None,
    trust_local_plugins: bool,
) -> None:
    """Translate standard input: line i of the output answers line i.

    Text is UTF-8 whatever the locale says, and only a line feed ends a line. Several MODELs answer as one, by
    the mean of their probabilities. A KEY=VALUE changes a setting of the search, as search.size=8.

    An empty line has an empty answer. A line that is too long is translated in parts, and counted on standard
    error. With --nbest each answer is a line of its own: number of the input line, rank, score and text,
    with tabs between them. With --json there are always as many lines as inputs: input, output, score,
    logprob, and in nbest every answer.

    From a terminal each line is answered at once; else 2,048 are read at a time, or --window.
    """
    models = [argument for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    if not models:
        raise click.UsageError("name a model before its KEY=VALUE", ctx)
    if nbest is not None:
        overrides.append(f"search.nbest={nbest}")
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    try:
        predictor = seqx.load(
            models,
            device=device,
            precision=precision,
            overrides=overrides,
            batch_tokens=batch_tokens,
            trust_local_plugins=trust_local_plugins,
        )
        size = window or (1 if source.isatty() else predictor.window)
        lines = Lines(source)
        asked: list[str] = []
        for number, answers in enumerate(predictor.hypotheses(_kept(lines, asked), size), 1):
            text = asked.pop(0)
            row = _json(text, answers) if as_json else _plain(number, answers, ranked=nbest is not None)
            sink.write(row.encode("utf-8", errors="replace"))
            sink.flush()
    except KeyboardInterrupt:
        ctx.exit(INTERRUPTED)
    if predictor.split:
        click.echo(
            f"{predictor.split} of {lines.count} lines have more than {predictor.longest} tokens; "
            "they were translated in parts",
            err=True,
        )
    if lines.error is not None:
        raise lines.error


class Lines:
    """The lines of a UTF-8 stream up to its end, or to the first that is no UTF-8, which is kept in `error`.

    It is not raised at once, so that all lines before it can be answered.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0
        self.error: seqx.UserError | None = None

    def __iter__(self) -> Iterator[str]:
        for raw in self._stream:
            try:
                line = raw.removesuffix(b"\n").decode("utf-8")
            except UnicodeDecodeError as error:
                self.error = seqx.UserError(
                    f"standard input:{self.count + 1}: no UTF-8 at byte {error.start + 1} of this line "
                    f"({error.reason}); convert the text, as with iconv"
                )
                return
            self.count += 1
            yield line


def _kept(lines: Iterable[str], asked: list[str]) -> Iterator[str]:
    """The lines, each put into `asked` as it is read."""
    for line in lines:
        asked.append(line)
        yield line


def _plain(number: int, answers: Sequence[tuple[str, seqx.Hypothesis]], *, ranked: bool) -> str:
    if not ranked:
        return f"{_one_line(answers[0][0]) if answers else ''}\n"
    if not answers:
        return f"{number}\t1\t0.0000\t\n"
    return "".join(
        f"{number}\t{rank}\t{hypothesis.score:.4f}\t{_one_line(text)}\n"
        for rank, (text, hypothesis) in enumerate(answers, 1)
    )


def _one_line(text: str) -> str:
    """A model that writes bytes can write a line feed; the next answer must not move."""
    return text.replace("\n", " ")


def _json(text: str, answers: Sequence[tuple[str, seqx.Hypothesis]]) -> str:
    nbest = [
        {"output": output, "score": hypothesis.score, "logprob": hypothesis.logprob}
        for output, hypothesis in answers
    ]
    best = nbest[0] if nbest else {"output": "", "score": None, "logprob": None}
    return json.dumps({"input": text, **best, "nbest": nbest}, ensure_ascii=False) + "\n"
