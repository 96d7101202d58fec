"""What a run's `metrics.jsonl` says of it, read back."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import seqx


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
        for number, line in _lines(file):
            try:
                match line["kind"]:
                    case "start":
                        start = {name: line[name] for name in ("parameters", "device", "precision")}
                    case "update":
                        step = line["step"]
                        tokens, seconds = tokens + line["tokens"], seconds + line["seconds"]
                    case "evaluation":
                        scores = {name: seqx.Score(**score) for name, score in line["scores"].items()}
                        looked[line["split"]] = Looked(
                            step=line["step"], scores=scores, perplexity=line["perplexity"]
                        )
                failed = f"{line['error']}: {line['message']}" if line["kind"] == "failed" else None
            except (KeyError, TypeError, AttributeError) as error:
                raise seqx.UserError(
                    f"{file}:{number}: cannot be read ({type(error).__name__}: {error}); "
                    "compare this run with the version of seqx that wrote it"
                ) from None
        speed = tokens / seconds if seconds else None
        return cls(start=start, step=step, tokens_per_second=speed, looked=looked, failed=failed)


def _lines(file: Path) -> Iterator[tuple[int, Any]]:
    """What is JSON, with the numbers of its lines; a run that is killed may leave half a line."""
    if not file.exists():
        return
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise seqx.UserError(f"{file}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.split("\n"), 1):
        try:
            yield number, json.loads(line)
        except ValueError:
            continue
