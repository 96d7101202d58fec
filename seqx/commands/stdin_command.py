"""Commands that answer each line of standard input with a model."""

import functools
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from seqx.cli import EXIT_INTERRUPTED
from seqx.commands.alignment_file import AlignmentFile, alignment_options
from seqx.commands.arguments import is_text_file, split_overrides
from seqx.commands.attention_figures import import_matplotlib
from seqx.commands.attention_folder import AttentionFolder
from seqx.commands.input_lines import InputLines
from seqx.commands.model_options import ModelOptions, model_options
from seqx.commands.output_path import OutputPath, check_outside
from seqx.commands.token_scores import TokenScores, scores_of_tokens
from seqx.commands.trace_file import TraceFile
from seqx.errors import UserError
from seqx.inference import Predictor
from seqx.inference.alignment import WordAligner
from seqx.inference.loading import model_folder
from seqx.interfaces.learning import Hypothesis
from seqx.interfaces.scores import AnswerWarning
from seqx.interfaces.task import Candidate, NBest, Request, Task, distinct, sum_warnings
from seqx.storage.json_format import json_text
from seqx.storage.text_lines import as_one_line

_MAX_LISTED_LINES = 10

_LINKS = r"\d+-\d+( \d+-\d+)*"  # a line of an alignment file
_CUT_LINKS = rf"{_LINKS}( (\d+-?)?)?|(?<=\n)\d+-?"  # the beginning of such a line

_OPTIONS = (
    click.argument("arguments", metavar="MODEL... [KEY=VALUE...]", nargs=-1, required=True),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with scores."),
    click.option(
        "--nbest",
        type=click.IntRange(1),
        metavar="N",
        help="Print the N best answers as LINE, RANK, SCORE, TEXT, separated by tabs.",
    ),
    click.option(
        "--window",
        type=click.IntRange(1, 1 << 30),
        metavar="N",
        help="Number of lines to read before the first answer; these lines are batched by length.",
    ),
    click.option(
        "--attention",
        type=OutputPath(is_empty=True),
        metavar="DIR",
        help="Write the attention weights of each line, and figures of them, to DIR, a new or empty folder.",
    ),
    click.option(
        "--trace",
        type=OutputPath(is_file=True, replaces=r'\{"line": \d+, "part": \d+, '),
        metavar="FILE",
        help="Write the hypotheses of each step of the search to FILE, as JSON lines.",
    ),
    click.option(
        "--alignment",
        type=OutputPath(is_file=True, replaces=rf"(({_LINKS})?\n)*({_CUT_LINKS})?\Z"),
        metavar="FILE",
        help="Write the word alignment of each line and its answer to FILE, such as 0-0 1-2.",
    ),
    click.option(
        "--token-scores", is_flag=True, help="Add the log-probability of each token; only with --json."
    ),
    *alignment_options,
)


def _format_score(hypothesis: Hypothesis) -> str:
    return f"{hypothesis.score:.4f}"


@dataclass(frozen=True, kw_only=True)
class StdinCommand:
    """The arguments and options of a command that answers lines of standard input. A call runs the command.

    Text is UTF-8 in every locale, and only a line feed ends a line. The answer to an empty line is empty.
    Lines that are too long are split and answered in parts; a warning gives their number.
    """

    command: str  # for messages, such as "seqx translate"
    models: Sequence[str]  # model folders
    overrides: Sequence[str]  # settings as KEY=VALUE
    as_json: bool  # print JSON
    nbest: int | None  # number of answers to each line; None: one
    options: ModelOptions  # how the models are loaded
    window: int | None  # lines to read before the first answer; None: 1 at a terminal, else a default
    attention: Path | None  # folder for attention weights; None: do not write them
    trace: Path | None  # file for the hypotheses of each step; None: do not write them
    alignment: Path | None  # file for word alignments; None: do not write them
    layer: int | None  # the cross-attention of the alignments; None: the default
    head: int | None  # the head of the alignments; None: the mean of all heads
    token_scores: bool  # with JSON: add the log-probability of each token

    def __call__(
        self,
        parse: Callable[[str], str | Request] = str,
        format_answer: Callable[[str], str] = str,
        format_score: Callable[[Hypothesis], str] = _format_score,
        *,
        task: type[Task] = Task,
        one_line: bool = True,
        group_lines: Callable[[Iterator[str]], Iterator[str]] = iter,
        prepare: Callable[[str], str] | None = None,
        use_task: Callable[[Any], None] = lambda _: None,
    ) -> None:
        """Answer each line of standard input.

        Args:
            parse: converts a line to a text or a request; a UserError ends the input before this line
            format_answer: converts an answer to the text that is printed
            format_score: formats the score of an answer of an n-best list
            task: the class of tasks that the command is for
            one_line: print each answer on one line; false: an answer may have several lines, and begins on a
                new line
            group_lines: converts the lines to inputs, which may have several; by default each line is one
            prepare: converts the text of each input to the text that is answered, such as its words. `--json`
                prints the text before this conversion. None: no conversion
            use_task: called with the task of the models before the first line is read

        Raises:
            UserError: the models cannot be used; or a line is invalid, after all lines before it were
                answered
        """
        if sys.stdin is None or sys.stdout is None:
            raise UserError("standard input or output is closed; connect it to a file, a pipe or a terminal")
        source, sink = sys.stdin.buffer, sys.stdout.buffer
        self._check_models()
        predictor = self._predictor()
        self._check_task(predictor, task)
        use_task(predictor.task)
        writers = list(self._writers(predictor))
        window = self.window or (1 if source.isatty() else predictor.window)
        lines, pending, unanswered = InputLines(source), deque[tuple[str, Request]](), list[int]()
        answers = lines.until_refused(
            predictor.hypotheses(lines.requests(parse, pending, group_lines, prepare), window)
        )
        number, warnings, structure = 0, list[AnswerWarning](), predictor.task.structure
        lists = self.nbest is not None or predictor.num_answers > 1
        for number, nbest in enumerate(answers, 1):
            warnings = sum_warnings([NBest(warnings=warnings), nbest])
            shown = [
                Candidate(format_answer(text) if text else text, hypothesis) for text, hypothesis in nbest
            ]
            text, request = pending.popleft()
            if request.constrained and request.input.strip() and not nbest:
                unanswered.append(number)
            tokens = scores_of_tokens(predictor, request.input, nbest) if self.token_scores else None
            if self.as_json:
                parts = [structure(answer) for answer, _ in nbest]
                row = _format_json(text, shown, tokens, parts, structure(""), lists=lists)
            else:
                row = self._format_plain(number, shown, format_score, one_line)
            sink.write(row.encode("utf-8", errors="replace"))
            sink.flush()
            for write in writers:
                write(number, request.input, nbest)
        for warning in warnings:
            if warning.count:
                click.echo(warning, err=True)
        if unanswered:
            click.echo(_unmet_message(unanswered, number), err=True)
        if lines.error is not None:
            raise lines.error

    def _writers(self, predictor: Predictor) -> Iterator[Callable[[int, Any, NBest], None]]:
        """Yield the functions that write further files about the number, the input and the answers of a line.

        Each file is opened just before its function is yielded; options are checked before the first file is
        opened.
        """
        open_alignment = None
        if self.alignment is not None:
            aligner = WordAligner(predictor, self.layer, self.head)
            open_alignment = functools.partial(AlignmentFile, self.alignment, predictor, aligner)
        if self.attention is not None:
            import_matplotlib()
        if self.trace is not None:
            trace = TraceFile(self.trace, predictor)
            yield lambda number, _, nbest: trace.write(number, nbest)
        if open_alignment is not None:
            alignment = open_alignment()
            yield lambda _, text, nbest: alignment.write(text, nbest)
        if self.attention is not None:
            attention = AttentionFolder(self.attention, predictor)
            yield attention.write

    def _check_task(self, predictor: Predictor, task: type[Task]) -> None:
        if not isinstance(predictor.task, task):
            raise UserError(
                f"{', '.join(self.models)}: this is a model of the task {type(predictor.task).__name__}, but "
                f"{self.command} is for {task.__name__}; `seqx --help` lists the other commands"
            )

    def _check_models(self) -> None:
        """Refuse `-` and text files, which users may expect to be read as input, and output into a model."""
        if "-" in self.models and not Path("-").exists():
            raise UserError("-: is not a model; remove it: lines are always read from standard input")
        files = [name for name in self.models if is_text_file(name)]
        if files:
            models = " ".join(name for name in self.models if name not in files) or "MODEL"
            raise UserError(
                f"{files[0]}: is a file, not a model; lines are read from standard input: "
                f"{self.command} {models} < {files[0]}"
            )
        outputs = {"--attention": self.attention, "--trace": self.trace, "--alignment": self.alignment}
        options: dict[str, str] = {}
        for option, path in outputs.items():
            if path is not None:
                other = options.setdefault(os.path.realpath(path), option)
                if other != option and not path.is_char_device():  # such as /dev/null
                    raise UserError(f"{path}: is named by {other} and {option}; choose another {option}")
                check_outside(path, *map(model_folder, map(Path, self.models)), option=option)

    def _predictor(self) -> Predictor:
        """Load the models so that they return `--nbest` answers per line.

        Raises:
            UserError: the search finds fewer
        """
        predictor = self.options.load(self.models, self.overrides)
        if self.nbest is None:
            return predictor
        predictor = predictor.with_answers(self.nbest)
        search = predictor.search
        if search is not None and predictor.num_answers < self.nbest:
            if search.width == 1:
                problem = "needs a beam search; add search=beam"
            else:
                problem = f"is more than the beam size {search.width}; add"
            raise UserError(f"--nbest {self.nbest} {problem} search.size={self.nbest}")
        return predictor

    def _format_plain(
        self,
        number: int,
        candidates: Sequence[Candidate],
        format_score: Callable[[Hypothesis], str],
        one_line: bool,
    ) -> str:
        shown = distinct(
            Candidate(as_one_line(text) if one_line else text, hypothesis) for text, hypothesis in candidates
        )
        if self.nbest is None:
            return f"{shown[0].text if shown else ''}\n"
        if not shown:
            return f"{number}\t1\t0.0000\t\n"
        separator = "\t" if one_line else "\n"
        return "".join(
            f"{number}\t{rank}\t{format_score(hypothesis)}{separator}{text}\n"
            for rank, (text, hypothesis) in enumerate(shown, 1)
        )


def stdin_command(command: Callable[..., None]) -> Callable[..., None]:
    """Turn a function into a command that answers standard input, with the usual arguments and options.

    The function is called with a `StdinCommand`, and with its own options as keyword arguments.
    """

    @click.pass_context
    @model_options
    @functools.wraps(command)
    def wrapped(
        ctx: click.Context,
        /,
        *,
        arguments: Sequence[str],
        as_json: bool,
        nbest: int | None,
        window: int | None,
        attention: Path | None,
        trace: Path | None,
        alignment: Path | None,
        layer: int | None,
        head: int | None,
        token_scores: bool,
        options: ModelOptions,
        **others: Any,
    ) -> None:
        models, overrides = split_overrides(arguments)
        if not models:
            raise click.UsageError("name a model before KEY=VALUE", ctx)
        if token_scores and not as_json:
            raise click.UsageError("--token-scores needs --json", ctx)
        if alignment is None and (layer, head) != (None, None):
            raise click.UsageError("--layer and --head need --alignment", ctx)
        answer = StdinCommand(
            command=f"seqx {ctx.info_name}",
            models=models,
            overrides=overrides,
            as_json=as_json,
            nbest=nbest,
            options=options,
            window=window,
            attention=attention,
            trace=trace,
            alignment=alignment,
            layer=layer,
            head=head,
            token_scores=token_scores,
        )
        try:
            command(answer, **others)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _unmet_message(numbers: Sequence[int], count: int) -> str:
    """Return the warning about lines for which no answer meets all constraints."""
    listed = ", ".join(map(str, numbers[:_MAX_LISTED_LINES]))
    more = ", ..." if len(numbers) > _MAX_LISTED_LINES else ""
    lines = "line" if len(numbers) == 1 else "lines"
    return (
        f"{len(numbers)} of {count} lines have no answer ({lines} {listed}{more}): the search found none "
        "that meets all constraints within its limit; use fewer constraints, raise search.extra or "
        "search.size, or check that the vocabulary has their characters"
    )


def _format_json(
    text: str,
    candidates: Sequence[Candidate],
    tokens: Sequence[TokenScores] | None,
    parts: Sequence[Mapping[str, object]],
    no_parts: Mapping[str, object],
    *,
    lists: bool,
) -> str:
    """Return the answers to an input as a JSON object.

    Args:
        text: the input
        candidates: the answers, as they are printed
        tokens: the scores of the tokens of each answer; None: leave them out
        parts: the parts of each answer, from `Task.structure`
        no_parts: the parts of an input without an answer
        lists: add the list of all answers
    """
    nbest: list[dict[str, object]] = [
        {"output": output, "score": hypothesis.score, "logprob": hypothesis.logprob, **of_answer}
        for (output, hypothesis), of_answer in zip(candidates, parts, strict=True)
    ]
    for answer, of_answer in zip(nbest, tokens or (), strict=False):
        answer["tokens"] = of_answer
    best = nbest[0] if nbest else {"output": "", "score": None, "logprob": None, **no_parts}
    row = {"input": text, **best, **({"nbest": nbest} if lists else {})}
    return json_text(row, ensure_ascii=False) + "\n"
