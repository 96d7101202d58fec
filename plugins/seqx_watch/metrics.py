"""All numbers of a run as JSON, a line each."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt
from pydantic import TypeAdapter

import seqx
from seqx_watch.append_only_file import AppendOnlyFile
from seqx_watch.metrics_reader import MetricsLine
from seqx_watch.window import Window

_LINE = TypeAdapter(MetricsLine)


class Metrics(seqx.Callback):
    """Writes the run's `metrics.jsonl`: one JSON object a line, its "kind" first.

    Kinds: start, update, noticed, evaluation, saved, finished, failed. Numbers of updates are means over
    those since the last such line, the rate and the norm those of the last one. Numbers that are not finite
    are the strings "Infinity", "-Infinity" and "NaN".
    When a run goes on from a checkpoint, what was written after it is cut off: each step stands there once.

    Args:
        every: updates that a line sums up
    """

    def __init__(self, *, every: Annotated[int, Gt(0)] = 100) -> None:
        self.every = every
        self._file: AppendOnlyFile | None = None
        self._window = Window()

    def state_dict(self) -> dict[str, Any]:
        """The updates that no line sums up yet."""
        return self._window.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._window.load_state_dict(state)

    @seqx.hookimpl
    def started(self, run: seqx.Run) -> None:
        """Cut off what will be done again, and say what is trained."""
        path = run.folder / "metrics.jsonl"
        told = cut(path, run.done, pending=run.pending)
        self._file = AppendOnlyFile(path)
        if run.resumed is not None and not told:  # killed between saving and the word about it
            self.saved(run, run.done, run.resumed)
        self._write(
            "start",
            step=run.done,
            run=run.name,
            steps=run.training.steps,
            parameters=run.parameters,
            device=run.device,
            precision=run.precision,
            examples=len(run.store),
            dropped=run.store.dropped,
            leaks=run.store.leaks,
        )

    @seqx.hookimpl
    def updated(self, run: seqx.Run, update: seqx.Update) -> None:
        """Sum up the updates since the last line, when there are enough."""
        self._window.add(update)
        if update.step % self.every == 0 or update.step == run.training.steps:
            reading = self._window.read()
            self._write(
                "update",
                **asdict(reading),
                perplexity=reading.perplexity,
                tokens_per_second=reading.tokens_per_second,
            )

    @seqx.hookimpl
    def noticed(self, step: int, what: str) -> None:
        """Record what went wrong."""
        self._write("noticed", step=step, what=what)

    @seqx.hookimpl
    def evaluated(self, step: int, split: str, evaluation: seqx.Evaluation) -> None:
        """Record the scores."""
        self._write(
            "evaluation",
            step=step,
            split=split,
            scores=_scores(evaluation.scores),
            perplexity=evaluation.perplexity,
        )

    @seqx.hookimpl
    def saved(self, run: seqx.Run, step: int, path: Path) -> None:
        """Record where a checkpoint lies."""
        self._write("saved", step=step, path=os.path.relpath(path, run.folder))

    @seqx.hookimpl
    def finished(self, scores: Mapping[str, Mapping[str, seqx.Score]]) -> None:
        """Record the scores of the finished model."""
        self._write("finished", scores={split: _scores(named) for split, named in scores.items()})
        self._file = None

    @seqx.hookimpl
    def failed(self, error: BaseException) -> None:
        """Record what broke the run off."""
        self._write("failed", error=type(error).__name__, message=str(error))
        self._file = None

    def _write(self, kind: str, **values: Any) -> None:
        if self._file:
            self._file.write(seqx.json_text({"kind": kind, **values}, ensure_ascii=False))


def cut(path: Path, done: int, *, pending: bool = False) -> bool:
    """Leave only the whole lines up to the last word about the checkpoint of step `done`.

    Args:
        path: the file
        done: updates that were made up to the checkpoint
        pending: step `done` is still to be validated and saved for good

    Returns:
        whether nothing is missing of what stood there when the checkpoint was saved
    """
    if not path.exists():
        return True
    kept: list[str] = []
    end = 0  # of what was written up to the checkpoint
    new = path.with_name(f".{path.name}")
    try:
        for line, about in seqx.read_json_lines(_LINE, path, "correct this line, or remove the file"):
            step, kind = about.get("step"), about["kind"]
            if (step is not None and step > done) or (pending and _again(kind, step == done)):
                break
            kept.append(line)
            if kind == "saved" and step == done:
                end = len(kept)
        new.write_text("".join(f"{line}\n" for line in kept[: end or None]), encoding="utf-8")
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise seqx.unwritable(path, error, "make it writable, or remove it") from None
    return pending or end > 0


def _again(kind: str, at_last: bool) -> bool:
    """Whether a line about the last update will be written again."""
    return kind == "failed" or (at_last and kind in ("evaluation", "saved"))


def _scores(scores: Mapping[str, seqx.Score]) -> dict[str, dict[str, Any]]:
    return {name: score.to_json() for name, score in scores.items()}
