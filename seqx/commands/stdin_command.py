"""Line in, line out: what the commands share that let a model answer standard input."""

import functools
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import click

from seqx.cli import EXIT_INTERRUPTED
from seqx.commands.arguments import (
    batch_tokens_option,
    device_option,
    is_text_file,
    precision_option,
    split_overrides,
    trust_option,
)
from seqx.commands.attention_folder import AttentionFolder
from seqx.errors import RecipeError, UserError
from seqx.inference import InputError, Predictor, load
from seqx.interfaces.nbest import Candidate, NBest, distinct, sum_warnings
from seqx.interfaces.text import Task
from seqx.interfaces.values import AnswerWarning, Hypothesis, Request
from seqx.storage.json_format import json_text
from seqx.storage.text_lines import read_standard_input

T = TypeVar("T")

_OPTIONS = (
    click.argument("arguments", metavar="MODEL... [KEY=VALUE...]", nargs=-1, required=True),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with scores."),
    click.option(
        "--nbest",
        type=click.IntRange(1),
        metavar="N",
        help="Print the N best answers as LINE, RANK, SCORE, TEXT.",
    ),
    device_option,
    precision_option,
    batch_tokens_option,
    click.option(
        "--window",
        type=click.IntRange(1, 1 << 30),
        metavar="N",
        help="Number of lines that are sorted by length and batched together.",
    ),
    click.option(
        "--attention",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Write the attention weights of each line, and figures of them.",
    ),
    trust_option,
)


def _score(hypothesis: Hypothesis) -> str:
    return f"{hypothesis.score:.4f}"


@dataclass(frozen=True, kw_only=True)
class StdinCommand:
    """What the user asked of a model that answers standard input; called, it answers.

    Text is UTF-8 whatever the locale says, and only a line feed ends a line. An empty line has an empty
    answer; a line that is too long is answered in parts, and counted on standard error.
    """

    command: str  # as the user typed it, "seqx translate"
    models: Sequence[str]
    overrides: Sequence[str]
    as_json: bool
    nbest: int | None
    device: str
    precision: Literal["auto", "bf16", "fp32"]
    batch_tokens: int | None
    window: int | None
    attention: Path | None
    trust_local_plugins: bool

    def __call__(
        self,
        read: Callable[[str], str | Request] = str,
        show: Callable[[str], str] = str,
        figure: Callable[[Hypothesis], str] = _score,
        *,
        of: type[Task] = Task,
        lines: bool = True,
    ) -> None:
        """Answer each line of standard input.

        Args:
            of: the task of the models that the command is for
            read: makes of a line what the model is asked; an error of its ends the input before that line
            show: makes of an answer what is written
            figure: what is written before each of several answers
            lines: whether what is written is one line; else each of several answers begins in the next one
        """
        if sys.stdin is None or sys.stdout is None:
            raise UserError(
                "standard input or output is closed; give the command a file, a pipe or a terminal"
            )
        source, sink = sys.stdin.buffer, sys.stdout.buffer
        self._check_models()
        predictor = self._predictor()
        if not isinstance(predictor.task, of):
            raise UserError(
                f"{', '.join(self.models)}: a model of the task {type(predictor.task).__name__}, and this "
                f"command is for {of.__name__}; `seqx --help` names the others"
            )
        looking = None if self.attention is None else AttentionFolder(self.attention, predictor)
        window = self.window or (1 if source.isatty() else predictor.window)
        given, asked, unmet = Lines(source), deque[tuple[str, Request]](), list[int]()
        questions = _questions(given, read, asked)
        answered = _up_to_refusal(predictor.hypotheses(questions, window), given)
        number, warnings = 0, list[AnswerWarning]()
        for number, answers in enumerate(answered, 1):
            warnings = sum_warnings([NBest(warnings=warnings), answers])
            shown = [Candidate(show(text) if text else text, hypothesis) for text, hypothesis in answers]
            text, question = asked.popleft()
            if question.constrained and question.text.strip() and not answers:
                unmet.append(number)
            row = _json(text, shown) if self.as_json else self._plain(number, shown, figure, lines)
            sink.write(row.encode("utf-8", errors="replace"))
            sink.flush()
            if looking is not None and answers:
                looking.write(number, question.text, answers[0][1].ids)
        for warning in warnings:
            if warning.count:
                click.echo(warning, err=True)
        if unmet:
            click.echo(_unmet(unmet, number), err=True)
        if given.error is not None:
            raise given.error

    def _check_models(self) -> None:
        """Refuse `-` or a file of text after the model, which other programs would read."""
        if "-" in self.models and not Path("-").exists():
            raise UserError("-: is not a model; leave it out, lines are read from standard input without it")
        files = [name for name in self.models if is_text_file(name)]
        if files:
            models = " ".join(name for name in self.models if name not in files) or "MODEL"
            raise UserError(
                f"{files[0]}: is a file, not a model; lines are read from standard input: "
                f"{self.command} {models} < {files[0]}"
            )

    def _predictor(self) -> Predictor:
        """The models as one, with a search that finds as many answers as are wanted."""
        if self.nbest is None:
            return self._load(self.overrides)
        try:
            return self._load([*self.overrides, f"search.nbest={self.nbest}"])
        except RecipeError:
            predictor = self._load(self.overrides)  # which fails for any other reason
            width = predictor.search.width
            if self.nbest == 1:  # every search finds one
                return predictor
            if width >= self.nbest:
                raise
        one = "needs a beam search; add search=beam"
        several = f"is more than a beam of size {width} finds; add"
        raise UserError(f"--nbest {self.nbest} {one if width == 1 else several} search.size={self.nbest}")

    def _load(self, overrides: Sequence[str]) -> Predictor:
        return load(
            self.models,
            device=self.device,
            precision=self.precision,
            overrides=overrides,
            batch_tokens=self.batch_tokens,
            trust_local_plugins=self.trust_local_plugins,
        )

    def _plain(
        self,
        number: int,
        answers: Sequence[Candidate],
        figure: Callable[[Hypothesis], str],
        one_line: bool,
    ) -> str:
        shown = distinct(
            Candidate(_one_line(text) if one_line else text, hypothesis) for text, hypothesis in answers
        )
        if self.nbest is None:
            return f"{shown[0][0] if shown else ''}\n"
        if not shown:
            return f"{number}\t1\t0.0000\t\n"
        between = "\t" if one_line else "\n"
        return "".join(
            f"{number}\t{rank}\t{figure(hypothesis)}{between}{text}\n"
            for rank, (text, hypothesis) in enumerate(shown, 1)
        )


def stdin_command(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the arguments and options of one that answers standard input.

    The command gets an `StdinCommand` first, then its own options by name.
    """

    @click.pass_context
    @functools.wraps(command)
    def wrapped(
        ctx: click.Context,
        /,
        *,
        arguments: Sequence[str],
        as_json: bool,
        nbest: int | None,
        device: str,
        precision: Literal["auto", "bf16", "fp32"],
        batch_tokens: int | None,
        window: int | None,
        attention: Path | None,
        trust_local_plugins: bool,
        **own: Any,
    ) -> None:
        models, overrides = split_overrides(arguments)
        if not models:
            raise click.UsageError("name a model before its KEY=VALUE", ctx)
        asked = StdinCommand(
            command=f"seqx {ctx.info_name}",
            models=models,
            overrides=overrides,
            as_json=as_json,
            nbest=nbest,
            device=device,
            precision=precision,
            batch_tokens=batch_tokens,
            window=window,
            attention=attention,
            trust_local_plugins=trust_local_plugins,
        )
        try:
            command(asked, **own)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


class Lines:
    """The lines of standard input up to its end or to the first unreadable one; see `error`.

    The error is not raised at once, so that all lines before it can be answered.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0
        self.error: UserError | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for line in read_standard_input(self._stream):
                self.count += 1
                yield line
        except UserError as error:
            self.error = error


def _questions(
    lines: Lines, read: Callable[[str], str | Request], asked: deque[tuple[str, Request]]
) -> Iterator[Request]:
    """What the model is asked, up to the first line that cannot be read.

    Each question is put into `asked`, behind the text that is shown for it.
    """
    for line in lines:
        try:
            question = read(line)
        except UserError as error:
            lines.error = error
            return
        request = Request(text=question) if isinstance(question, str) else question
        asked.append((line if isinstance(question, str) else request.text, request))
        yield request


def _up_to_refusal(answered: Iterator[T], lines: Lines) -> Iterator[T]:
    """What comes before an input that cannot be answered, which is then the error of the `lines`."""
    number = 0
    try:
        for number, answers in enumerate(answered, 1):  # noqa: B007  used when it is over
            yield answers
    except InputError as refused:
        lines.error = InputError(f"standard input:{number + 1}: {refused}", number)


def _unmet(numbers: Sequence[int], count: int) -> str:
    """Which lines have no answer that is as it was to be."""
    most = 10
    named = ", ".join(map(str, numbers[:most])) + (", ..." if len(numbers) > most else "")
    lines = "line" if len(numbers) == 1 else "lines"
    return (
        f"{len(numbers)} of {count} lines have no answer ({lines} {named}): within the search's limit none "
        "was found that is as it must be; ask for less, or raise search.extra or search.size"
    )


def _one_line(text: str) -> str:
    """A model that writes bytes can write a line feed; the next answer must not move."""
    return text.replace("\n", " ")


def _json(text: str, answers: Sequence[Candidate]) -> str:
    nbest = [
        {"output": output, "score": hypothesis.score, "logprob": hypothesis.logprob}
        for output, hypothesis in answers
    ]
    best = nbest[0] if nbest else {"output": "", "score": None, "logprob": None}
    return json_text({"input": text, **best, "nbest": nbest}, ensure_ascii=False) + "\n"
