"""Means of metrics over several updates, and the callback `metrics`, which records them as JSON lines."""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt
from pydantic import TypeAdapter
from torch import Tensor

import seqx
from seqx_watch.append_only_file import AppendOnlyFile
from seqx_watch.metrics_reader import MetricsLine

_LINE = TypeAdapter(MetricsLine)


class Metrics(seqx.Callback):
    """Record of a run in its `metrics.jsonl`, with one JSON object per line. Its field "kind" is the type.

    The types are start, update, noticed, evaluation, saved, finished and failed. A line "update" has means
    over the updates since the previous such line; learning rate and gradient norm are those of the last
    update. Numbers that are not finite are written as the strings "Infinity", "-Infinity" and "NaN". When a
    run resumes from a checkpoint, the lines of later steps are removed, so each step occurs once.

    Args:
        every: number of updates per line "update"
    """

    def __init__(self, *, every: Annotated[int, Gt(0)] = 100) -> None:
        self.every = every
        self._file: AppendOnlyFile | None = None
        self._window = Window()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums over the updates since the last line "update"."""
        return self._window.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums that `state_dict` returned."""
        self._window.load_state_dict(state)

    @seqx.hookimpl
    def started(self, run: seqx.Run) -> None:
        """Remove the lines of steps after the checkpoint, and record the start."""
        path = run.folder / "metrics.jsonl"
        is_recorded = truncate(path, run.done, pending=run.pending)
        self._file = AppendOnlyFile(path)
        if run.resumed is not None and not is_recorded:
            # The run was killed after it had saved the checkpoint and before it recorded it.
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
        """Record the means over the last updates, every `every` updates."""
        self._window.add(update)
        if update.step % self.every == 0 or update.step == run.training.steps:
            means = self._window.read()
            self._write(
                "update",
                **asdict(means),
                perplexity=means.perplexity,
                tokens_per_second=means.tokens_per_second,
            )

    @seqx.hookimpl
    def noticed(self, step: int, what: str) -> None:
        """Record a problem."""
        self._write("noticed", step=step, what=what)

    @seqx.hookimpl
    def evaluated(self, step: int, split: str, evaluation: seqx.Evaluation) -> None:
        """Record the scores of a split."""
        self._write(
            "evaluation",
            step=step,
            split=split,
            scores=_scores(evaluation.scores),
            perplexity=evaluation.perplexity,
        )

    @seqx.hookimpl
    def saved(self, run: seqx.Run, step: int, path: Path) -> None:
        """Record the path of a checkpoint."""
        self._write("saved", step=step, path=os.path.relpath(path, run.folder))

    @seqx.hookimpl
    def finished(self, scores: Mapping[str, Mapping[str, seqx.Score]]) -> None:
        """Record the scores of the final model."""
        self._write("finished", scores={split: _scores(named) for split, named in scores.items()})
        self._file = None

    @seqx.hookimpl
    def failed(self, error: BaseException) -> None:
        """Record the error that ended the run."""
        self._write("failed", error=type(error).__name__, message=str(error))
        self._file = None

    def _write(self, kind: str, **values: Any) -> None:
        if self._file:
            self._file.write(seqx.json_text({"kind": kind, **values}, ensure_ascii=False))


def truncate(path: Path, done: int, *, pending: bool = False) -> bool:
    """Remove the lines after the line "saved" of the checkpoint of step `done`, and incomplete lines.

    Args:
        path: the file
        done: number of updates before the checkpoint
        pending: the run will repeat the validation and the checkpoint of step `done`

    Returns:
        true if the file contains that line, or the run will write it
    """
    if not path.exists():
        return True
    kept: list[str] = []
    end = 0  # number of lines up to the line "saved" of the checkpoint; 0 if there is none
    new = path.with_name(f".{path.name}")
    try:
        for line, record in seqx.read_json_lines(_LINE, path, "correct this line, or remove the file"):
            step, kind = record.get("step"), record["kind"]
            if (step is not None and step > done) or (pending and _is_rewritten(kind, step == done)):
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


def _is_rewritten(kind: str, is_last_step: bool) -> bool:
    """Return true if the resumed run writes a line of this kind again."""
    return kind == "failed" or (is_last_step and kind in ("evaluation", "saved"))


def _scores(scores: Mapping[str, seqx.Score]) -> dict[str, dict[str, Any]]:
    return {name: score.to_json() for name, score in scores.items()}


@dataclass(frozen=True, kw_only=True)
class WindowMeans:
    """The metrics of several updates."""

    step: int  # the last update
    updates: int  # number of updates
    loss: float  # nats per target token
    nll: float | None  # the same without label smoothing and additional terms, if the objective reports it
    others: Mapping[str, float]  # means of the objective's other terms, by name
    learning_rate: float  # of the last update
    norm: float  # gradient norm of the last update, before clipping
    tokens: int  # target tokens
    padding: float  # mean fraction of padding in the computed tokens
    seconds: float  # duration of the updates
    skipped: int  # updates with a loss or gradient that was not finite

    @property
    def perplexity(self) -> float:
        """The perplexity per token, computed from `nll`, or from the loss if `nll` is None."""
        return seqx.perplexity(self.loss if self.nll is None else self.nll)

    @property
    def tokens_per_second(self) -> float:
        """Target tokens per second of training alone."""
        return self.tokens / self.seconds if self.seconds else 0.0


class Window:
    """Sums over the updates since the last call of `read`.

    They stay on the device, so `add` does not wait for it.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.updates = 0
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._tokens = 0
        self._padding = 0.0
        self._seconds = 0.0
        self._skipped: Tensor | int = 0
        self._last: seqx.Update | None = None

    def add(self, update: seqx.Update) -> None:
        """Add an update. Losses of skipped updates are left out, because they are usually not finite."""
        self.updates += 1
        self._tokens += update.tokens
        self._padding += update.padding
        self._seconds += update.seconds
        self._skipped = self._skipped + update.skipped
        self._last = update
        for name, value in update.sums.items():
            self._sums[name] = self._sums.get(name, 0) + value.masked_fill(update.skipped, 0)
            self._counts[name] = self._counts.get(name, 0) + ~update.skipped * update.counts[name]

    def state_dict(self) -> dict[str, Any]:
        """Return the sums since the last call of `read`."""
        return {
            "updates": self.updates,
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "tokens": self._tokens,
            "padding": self._padding,
            "seconds": self._seconds,
            "skipped": self._skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums that `state_dict` returned."""
        self.updates = state["updates"]
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
        self._tokens, self._padding = state["tokens"], state["padding"]
        self._seconds, self._skipped = state["seconds"], state["skipped"]

    def read(self) -> WindowMeans:
        """Return the means since the last call, and start again; this waits for the device.

        There must have been an update since the last call.
        """
        last = self._last
        assert last is not None, "no update was added"
        means = WindowMeans(
            step=last.step,
            updates=self.updates,
            loss=self._mean("loss"),
            nll=self._mean("nll") if "nll" in last.sums else None,
            others={name: self._mean(name) for name in last.sums if name not in ("loss", "nll")},
            learning_rate=last.learning_rate,
            norm=float(last.norm),
            tokens=self._tokens,
            padding=self._padding / self.updates,
            seconds=self._seconds,
            skipped=int(self._skipped),
        )
        self._clear()
        return means

    def _mean(self, name: str) -> float:
        count = int(self._counts[name]) if name in self._counts else 0
        return float(self._sums[name]) / count if count else math.nan
