"""What a run's `metrics.jsonl` says of it, read back."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Lt
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

import seqx

_LARGEST = 1 << 28  # bytes of a file: a million lines have fewer
_LONGEST = 1 << 20  # bytes of a line

Count = Annotated[int, Ge(0), Lt(1 << 63)]
_Amount = Annotated[float, Ge(0), Lt(float("inf"))]


class _Start(TypedDict):
    parameters: Count
    device: str
    precision: str


class _Update(TypedDict):
    step: Count
    tokens: Count
    seconds: _Amount


class _Score(TypedDict):
    value: float | None  # null: not finite, in older files
    signature: str


class _Evaluation(TypedDict):
    step: Count
    split: str
    scores: Mapping[str, _Score]
    perplexity: float | None


class _Failed(TypedDict):
    error: str
    message: str


_KINDS: Mapping[str, TypeAdapter[Any]] = {
    "start": TypeAdapter(_Start),
    "update": TypeAdapter(_Update),
    "evaluation": TypeAdapter(_Evaluation),
    "failed": TypeAdapter(_Failed),
}


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A model's scores on a split, as they were recorded."""

    step: int
    scores: Mapping[str, seqx.Score]
    perplexity: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the callback `metrics` recorded; nothing where it did not listen."""

    start: Mapping[str, Any] = field(default_factory=dict)  # of the last start
    step: int = 0  # the last update that was recorded
    tokens_per_second: float | None = None  # target tokens, by the time of training alone
    looked: Mapping[str, Looked] = field(default_factory=dict)  # at each split, the last time
    failed: str | None = None  # what broke the run off, if it has not gone on since

    @classmethod
    def read(cls, file: Path) -> "Measured":
        """Read it as far as it was written.

        Raises:
            UserError: it cannot be read, or is not what this version writes
        """
        start: Mapping[str, Any] = {}
        looked: dict[str, Looked] = {}
        failed, step, tokens, seconds = None, 0, 0, 0.0
        for kind, line in _lines(file):
            match kind:
                case "start":
                    start = line
                case "update":
                    step = line["step"]
                    tokens, seconds = tokens + line["tokens"], seconds + line["seconds"]
                case "evaluation":
                    scores = {name: seqx.Score(**score) for name, score in line["scores"].items()}
                    looked[line["split"]] = Looked(
                        step=line["step"], scores=scores, perplexity=line["perplexity"]
                    )
            failed = f"{line['error']}: {line['message']}" if kind == "failed" else None
        speed = tokens / seconds if seconds else None
        return cls(start=start, step=step, tokens_per_second=speed, looked=looked, failed=failed)


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    """The kind of each line, and what it says; a run that is killed may leave half a line."""
    if not file.exists():
        return
    try:
        data = seqx.content(file, _LARGEST)
    except OSError as error:
        raise seqx.UserError(f"{file}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(io.BytesIO(data), 1):
        if len(line) > _LONGEST:
            raise seqx.UserError(f"{file}:{number}: cannot be read (it has more than {_LONGEST:,} bytes)")
        try:
            said = json.loads(line.decode(errors="replace"))
        except (ValueError, RecursionError):
            continue
        try:
            kind = said["kind"]
            yield kind, _KINDS[kind].validate_python(said) if kind in _KINDS else said
        except ValidationError as error:
            raise _unread(file, number, seqx.first_fault(error)) from None
        except (KeyError, TypeError) as error:
            raise _unread(file, number, f"{type(error).__name__}: {error}") from None


def _unread(file: Path, number: int, why: str) -> seqx.UserError:
    return seqx.UserError(
        f"{file}:{number}: cannot be read ({why}); compare this run with the version of seqx that wrote it"
    )
