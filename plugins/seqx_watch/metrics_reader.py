"""Reader of a run's `metrics.jsonl`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Lt
from pydantic import Discriminator, Tag, TypeAdapter
from typing_extensions import TypedDict

import seqx

_ADVICE = "compare this run with the version of seqx that wrote it"

Count = Annotated[int, Ge(0), Lt(1 << 63)]
_Amount = Annotated[float, Ge(0), Lt(float("inf"))]


class _Start(TypedDict):
    kind: Literal["start"]
    parameters: Count
    device: str
    precision: str


class _Update(TypedDict):
    kind: Literal["update"]
    step: Count
    tokens: Count
    seconds: _Amount


class _Score(TypedDict):
    value: float | None  # null in older files if it is not finite
    signature: str


class _Evaluation(TypedDict):
    kind: Literal["evaluation"]
    step: Count
    split: str
    scores: Mapping[str, _Score]
    perplexity: float | None


class _Failed(TypedDict):
    kind: Literal["failed"]
    error: str
    message: str


class MetricsLine(TypedDict):
    """A line, with the fields that all types of lines may have."""

    kind: str
    step: NotRequired[Count | None]


def _kind(line: object) -> str:
    """Return the tag of the TypedDict that validates a line."""
    kind = line.get("kind") if isinstance(line, dict) else None
    return kind if kind in ("start", "update", "evaluation", "failed") else "other"


_LINE: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        Annotated[_Start, Tag("start")]
        | Annotated[_Update, Tag("update")]
        | Annotated[_Evaluation, Tag("evaluation")]
        | Annotated[_Failed, Tag("failed")]
        | Annotated[MetricsLine, Tag("other")],
        Discriminator(_kind),
    ]
)


@dataclass(frozen=True, kw_only=True)
class RecordedEvaluation:
    """The recorded scores of a split."""

    step: int
    scores: Mapping[str, seqx.Score]
    perplexity: float | None


@dataclass(frozen=True, kw_only=True)
class RecordedMetrics:
    """The data recorded by the callback `metrics`; empty if the recipe lacks this callback."""

    start: Mapping[str, Any] = field(default_factory=dict)  # the last line of kind "start"
    step: int = 0  # the last recorded update
    tokens_per_second: float | None = None  # target tokens, per second of training alone
    evaluations: Mapping[str, RecordedEvaluation] = field(default_factory=dict)  # the last one of each split
    failed: str | None = None  # how the run ended; None if it was resumed afterwards, or did not fail

    @classmethod
    def read(cls, file: Path) -> "RecordedMetrics":
        """Read the complete lines of a file.

        Raises:
            UserError: the file cannot be read, or has another format
        """
        start: Mapping[str, Any] = {}
        evaluations: dict[str, RecordedEvaluation] = {}
        failed, step, tokens, seconds = None, 0, 0, 0.0
        for _, line in seqx.read_json_lines(_LINE, file, _ADVICE):
            match line["kind"]:
                case "start":
                    start = line
                case "update":
                    step = line["step"]
                    tokens, seconds = tokens + line["tokens"], seconds + line["seconds"]
                case "evaluation":
                    scores = {name: seqx.Score(**score) for name, score in line["scores"].items()}
                    evaluations[line["split"]] = RecordedEvaluation(
                        step=line["step"], scores=scores, perplexity=line["perplexity"]
                    )
            failed = _failure_text(line) if line["kind"] == "failed" else None
        speed = tokens / seconds if seconds else None
        return cls(start=start, step=step, tokens_per_second=speed, evaluations=evaluations, failed=failed)


def _failure_text(line: _Failed) -> str:
    """Return a text about the error or signal that ended a run."""
    if line["error"] == "Stopped":
        return f"was stopped by {line['message']}"
    if line["error"] == "KeyboardInterrupt":
        return "was interrupted"
    return f"failed ({line['error']}: {line['message']})"
