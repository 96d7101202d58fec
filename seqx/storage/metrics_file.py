"""The file `metrics.jsonl` of a run: the schema of its lines, and how they are written and read.

Each line is a JSON object, whose field "kind" is its type. The callback `metrics` writes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Lt
from pydantic import Discriminator, Tag, TypeAdapter
from typing_extensions import TypedDict

from seqx.errors import DamagedError
from seqx.interfaces.scores import Score
from seqx.storage.append_only_file import AppendOnlyFile
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import json_text, read_json_lines

MAX_LINE_BYTES = 1 << 24
"""Maximum bytes of a line: an evaluation may have several scores of each of thousands of labels."""

Count = Annotated[int, Ge(0), Lt(1 << 63)]
_Amount = Annotated[float, Ge(0), Lt(float("inf"))]

# Fields that are not required are written by this version, but may be missing in files of older ones.


class StartLine(TypedDict):
    """The run starts, or resumes from a checkpoint."""

    kind: Literal["start"]
    parameters: Count
    device: str
    precision: str
    step: NotRequired[Count]  # number of updates so far
    run: NotRequired[str]
    steps: NotRequired[Count]  # number of updates in all
    examples: NotRequired[Count]
    dropped: NotRequired[Mapping[str, Count]]  # training rows by the reason why they were rejected
    leaks: NotRequired[Mapping[str, Any]]  # training rows that also occur in a held-out split, by split


class UpdateLine(TypedDict):
    """Means over the updates since the previous line of this type."""

    kind: Literal["update"]
    step: Count  # the last update
    tokens: Count  # target tokens
    seconds: _Amount  # duration of the updates
    updates: NotRequired[Count]
    loss: NotRequired[float]  # nats per target token
    nll: NotRequired[float | None]  # the same without label smoothing and additional terms, if it is known
    others: NotRequired[Mapping[str, float]]  # means of the objective's other terms, by name
    learning_rate: NotRequired[float]  # of the last update
    norm: NotRequired[float]  # gradient norm of the last update, before clipping
    padding: NotRequired[float]  # mean fraction of padding in the computed tokens
    skipped: NotRequired[Count]  # updates with a loss or gradient that was not finite
    perplexity: NotRequired[float]
    tokens_per_second: NotRequired[float]
    memory: NotRequired[Count]  # bytes in use after the last update: by torch on a GPU, else by the process


class ScoreLine(TypedDict):
    """A score within a line."""

    value: float | None  # null in older files if it is not finite
    signature: str
    results: NotRequired[Sequence[str]]  # names of fields of the signature; only if there are any
    lower_is_better: NotRequired[bool]  # only if it is true
    is_detail: NotRequired[bool]  # only if it is true
    note: NotRequired[str]  # a remark that is printed after the value; only if there is one


class EvaluationLine(TypedDict):
    """The scores of a split."""

    kind: Literal["evaluation"]
    step: Count
    split: str
    scores: Mapping[str, ScoreLine]
    perplexity: float | None
    is_final: NotRequired[bool]  # true: of the final model; false: of a validation


class NoticedLine(TypedDict):
    """A problem, after which the run continued."""

    kind: Literal["noticed"]
    step: Count
    what: str


class SavedLine(TypedDict):
    """A checkpoint was written; its path is relative to the folder of the run."""

    kind: Literal["saved"]
    step: Count
    path: str


class FinishedLine(TypedDict):
    """The scores of the final model, by split."""

    kind: Literal["finished"]
    scores: Mapping[str, Mapping[str, ScoreLine]]


class FailedLine(TypedDict):
    """The error or signal that ended the run."""

    kind: Literal["failed"]
    error: str  # the class of the error
    message: str


class _AnyLine(TypedDict):
    """The fields that are read from lines of all other types."""

    kind: str
    step: NotRequired[Count | None]


MetricsLine = StartLine | UpdateLine | EvaluationLine | NoticedLine | SavedLine | FinishedLine | FailedLine
"""A line that this version writes."""


def _tag(line: object) -> str:
    """Return the tag of the type that validates a line."""
    kind = line.get("kind") if isinstance(line, dict) else None
    return kind if kind in ("start", "update", "evaluation", "noticed", "failed") else "other"


_LINE: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        Annotated[StartLine, Tag("start")]
        | Annotated[UpdateLine, Tag("update")]
        | Annotated[EvaluationLine, Tag("evaluation")]
        | Annotated[NoticedLine, Tag("noticed")]
        | Annotated[FailedLine, Tag("failed")]
        | Annotated[_AnyLine, Tag("other")],
        Discriminator(_tag),
    ]
)
_ANY_LINE = TypeAdapter(_AnyLine)


@dataclass(frozen=True, kw_only=True)
class RecordedEvaluation:
    """The recorded scores of a split."""

    split: str
    step: int
    scores: Mapping[str, Score]
    perplexity: float | None
    # true: of the final model; false: of a validation; None: not recorded by older versions
    is_final: bool | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedMetrics:
    """The content of `metrics.jsonl`; empty if the recipe lacks the callback `metrics`."""

    start: Mapping[str, Any] = field(default_factory=dict)  # the last line of kind "start"
    updates: Sequence[UpdateLine] = ()  # the lines of kind "update"
    evaluations: Sequence[RecordedEvaluation] = ()  # the lines of kind "evaluation"
    notices: Sequence[NoticedLine] = ()  # the lines of kind "noticed"
    failed: str | None = None  # how the run ended; None if it was resumed afterwards, or did not fail
    problem: str | None = None  # a message about damaged lines, which are left out, or an unreadable file

    @property
    def step(self) -> int:
        """The last recorded update."""
        return self.updates[-1]["step"] if self.updates else 0

    @property
    def tokens_per_second(self) -> float | None:
        """Target tokens per second of training alone; None if no update is recorded."""
        seconds = sum(line["seconds"] for line in self.updates)
        return sum(line["tokens"] for line in self.updates) / seconds if seconds else None

    @property
    def last_evaluations(self) -> Mapping[str, RecordedEvaluation]:
        """The last evaluation of each split."""
        return {evaluation.split: evaluation for evaluation in self.evaluations}

    @property
    def validations(self) -> Sequence[RecordedEvaluation]:
        """The validations on the development set by step, without the evaluation of the final model.

        Files of older versions do not mark that evaluation; there, the first evaluation of a step counts as
        its validation.
        """
        by_step: dict[int, RecordedEvaluation] = {}
        for evaluation in self.evaluations:
            if evaluation.split == "dev" and not evaluation.is_final:
                by_step.setdefault(evaluation.step, evaluation)
        return [by_step[step] for step in sorted(by_step)]


class MetricsFile:
    """The file `metrics.jsonl` of a run folder.

    Args:
        folder: the folder of the run
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metrics.jsonl"
        self._file: AppendOnlyFile | None = None

    def append(self, line: MetricsLine) -> None:
        """Append a line.

        Raises:
            UserError: the file cannot be written
        """
        self._file = self._file or AppendOnlyFile(self.path)
        self._file.write(json_text(line, ensure_ascii=False))

    def truncate(self, done: int, *, pending: bool = False) -> bool:
        """Remove the lines after the line "saved" of the checkpoint of step `done`, and incomplete lines.

        Args:
            done: number of updates before the checkpoint
            pending: the run will repeat the validation and the checkpoint of step `done`

        Returns:
            true if the file is missing, if it contains that line, or if the run will write the line

        Raises:
            UserError: the file cannot be read or written
        """
        if not self.path.exists():
            return True
        kept: list[str] = []
        end = 0  # number of lines up to the line "saved" of the checkpoint; 0 if there is none
        advice = "correct this line, or remove the file"
        for text, line in read_json_lines(_ANY_LINE, self.path, advice, max_line_bytes=MAX_LINE_BYTES):
            step, kind = line.get("step"), line["kind"]
            if pending and kind == "failed":
                continue
            is_repeated = pending and step == done and kind in ("evaluation", "saved")
            if is_repeated or (step is not None and step > done):
                break
            kept.append(text)
            if kind == "saved" and step == done:
                end = len(kept)
        write_atomically(self.path, "".join(f"{text}\n" for text in kept[: end or None]))
        return pending or end > 0

    def read(self) -> RecordedMetrics:
        """Read the complete lines. Damaged lines are left out; `RecordedMetrics.problem` describes them."""
        start: Mapping[str, Any] = {}
        updates: list[UpdateLine] = []
        evaluations: list[RecordedEvaluation] = []
        notices: list[NoticedLine] = []
        failed = None
        problems: list[str] = []
        for line in self._readable_lines(problems):
            match line["kind"]:
                case "start":
                    start = line
                case "update":
                    updates.append(line)
                case "noticed":
                    notices.append(line)
                case "evaluation":
                    scores = {name: Score(**score) for name, score in line["scores"].items()}
                    evaluations.append(
                        RecordedEvaluation(
                            split=line["split"],
                            step=line["step"],
                            scores=scores,
                            perplexity=line["perplexity"],
                            is_final=line.get("is_final"),
                        )
                    )
            failed = _failure_text(line) if line["kind"] == "failed" else None
        return RecordedMetrics(
            start=start,
            updates=updates,
            evaluations=evaluations,
            notices=notices,
            failed=failed,
            problem=" ".join(problems) or None,
        )

    def _readable_lines(self, problems: list[str]) -> Iterator[Any]:
        """Yield the values of the lines that can be read; at the end, append at most one problem."""
        advice = "restore the file, or remove it"
        damaged: list[tuple[int, str]] = []
        count = 0
        try:
            for _, line in read_json_lines(
                _LINE,
                self.path,
                advice,
                on_damage=lambda *problem: damaged.append(problem),
                max_line_bytes=MAX_LINE_BYTES,
            ):
                count += 1
                yield line
        except DamagedError as error:
            problems.append(str(error))
            return
        if damaged and not count:
            lines = "1 line" if len(damaged) == 1 else f"{len(damaged):,} lines"
            problems.append(f"{self.path}: is not a file of metrics ({lines}, all damaged); {advice}")
        elif damaged:
            number, reason = damaged[0]
            skipped = "1 damaged line is" if len(damaged) == 1 else f"{len(damaged):,} damaged lines are"
            problems.append(f"{self.path}:{number}: cannot be read ({reason}); {skipped} left out")


def _failure_text(line: FailedLine) -> str:
    """Return a text about the error or signal that ended a run."""
    if line["error"] == "Stopped":
        return f"was stopped by {line['message']}"
    if line["error"] == "KeyboardInterrupt":
        return "was interrupted"
    return f"failed ({line['error']}: {line['message']})"
