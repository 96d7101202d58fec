"""Means of metrics over several updates, and the callback `metrics`, which records them as JSON lines."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt
from torch import Tensor

import seqx
from seqx_watch.memory import bytes_in_use


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
        self._file: seqx.MetricsFile | None = None
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
        self._file = seqx.MetricsFile(run.folder)
        is_recorded = self._file.truncate(run.done, pending=run.pending)
        if run.resumed is not None and not is_recorded:
            # The run was killed after it had saved the checkpoint and before the checkpoint was recorded.
            self.saved(run, run.done, run.resumed)
        self._append(
            {
                "kind": "start",
                "step": run.done,
                "run": run.name,
                "steps": run.training.steps,
                "parameters": run.parameters,
                "device": run.device,
                "precision": run.precision,
                "examples": len(run.store),
                "dropped": run.store.dropped,
                "leaks": run.store.leaks,
            }
        )

    @seqx.hookimpl
    def updated(self, run: seqx.Run, update: seqx.Update) -> None:
        """Record the means over the last updates, every `every` updates."""
        self._window.add(update)
        if update.step % self.every == 0 or update.step == run.training.steps:
            self._append(self._window.read().line(memory=bytes_in_use(run.device)))

    @seqx.hookimpl
    def noticed(self, step: int, message: str) -> None:
        """Record a problem."""
        self._append({"kind": "noticed", "step": step, "what": message})

    @seqx.hookimpl
    def evaluated(self, step: int, split: str, evaluation: seqx.Evaluation, is_final: bool) -> None:
        """Record the scores of a split."""
        self._append(
            {
                "kind": "evaluation",
                "step": step,
                "split": split,
                "scores": _scores(evaluation.scores),
                "perplexity": evaluation.perplexity,
                "is_final": is_final,
            }
        )

    @seqx.hookimpl
    def saved(self, run: seqx.Run, step: int, path: Path) -> None:
        """Record the path of a checkpoint."""
        self._append({"kind": "saved", "step": step, "path": os.path.relpath(path, run.folder)})

    @seqx.hookimpl
    def finished(self, scores: Mapping[str, Mapping[str, seqx.Score]]) -> None:
        """Record the scores of the final model."""
        by_split = {split: _scores(named) for split, named in scores.items()}
        self._append({"kind": "finished", "scores": by_split})
        self._file = None

    @seqx.hookimpl
    def failed(self, error: BaseException) -> None:
        """Record the error that ended the run."""
        self._append({"kind": "failed", "error": type(error).__name__, "message": str(error)})
        self._file = None

    def _append(self, line: seqx.MetricsLine) -> None:
        if self._file:
            self._file.append(line)


def _scores(scores: Mapping[str, seqx.Score]) -> dict[str, seqx.ScoreLine]:
    return {name: _score_line(score) for name, score in scores.items()}


def _score_line(score: seqx.Score) -> seqx.ScoreLine:
    line: seqx.ScoreLine = {"value": score.value, "signature": score.signature}
    if score.results:
        line["results"] = [*score.results]
    if score.lower_is_better:
        line["lower_is_better"] = True
    if score.is_detail:
        line["is_detail"] = True
    if score.note:
        line["note"] = score.note
    return line


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

    def line(self, *, memory: int) -> seqx.MetricsLine:
        """Return the line of `metrics.jsonl` with these means, and with the memory in use in bytes."""
        return {
            "kind": "update",
            "step": self.step,
            "updates": self.updates,
            "loss": self.loss,
            "nll": self.nll,
            "others": self.others,
            "learning_rate": self.learning_rate,
            "norm": self.norm,
            "tokens": self.tokens,
            "padding": self.padding,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "perplexity": self.perplexity,
            "tokens_per_second": self.tokens_per_second,
            "memory": memory,
        }


class Scalars:
    """Scalars of several updates that stay on the device until they are read."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []

    def add(self, scalar: Tensor) -> None:
        """Add a scalar; after `JOINED` scalars, one operation of the device joins them into one tensor."""
        self._tensors.append(scalar.reshape(1))
        if len(self._tensors) > JOINED:
            self._tensors = [torch.cat(self._tensors)]

    @property
    def on_device(self) -> Tensor:
        """All scalars [n], on the device."""
        return torch.cat(self._tensors) if self._tensors else torch.empty(0)

    @staticmethod
    def read(*scalars: "Scalars") -> list[Tensor]:
        """Return the scalars [n] of each argument in the memory of the host, by one copy from the device."""
        parts = [each.on_device for each in scalars]
        device = parts[0].device
        copied = torch.cat([part.to(device, torch.float64) for part in parts]).cpu()  # float64 is exact
        split = torch.split(copied, [len(part) for part in parts])
        return [values.to(part.dtype) for values, part in zip(split, parts, strict=True)]


JOINED = 128
"""The maximum number of separate tensors that `Scalars` keeps."""


class Window:
    """Sums over the updates since the last call of `read`.

    `add` computes nothing, and does not wait for the device. The sums are computed on the host.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.updates = 0
        self._sums: dict[str, Tensor] = {}  # of the updates up to the last `_sum_up`, like the next two
        self._counts: dict[str, int] = {}
        self._skipped = 0
        self._new_sums: dict[str, Scalars] = {}
        self._new_counts: dict[str, list[tuple[int, int]]] = {}  # with the index in `_new_skipped`
        self._new_skipped = Scalars()
        self._new_updates = 0
        self._tokens = 0
        self._padding = 0.0
        self._seconds = 0.0
        self._last: seqx.Update | None = None

    def add(self, update: seqx.Update) -> None:
        """Add an update. Losses of skipped updates are left out, because they are usually not finite."""
        self.updates += 1
        self._tokens += update.tokens
        self._padding += update.padding
        self._seconds += update.seconds
        self._last = update
        self._new_skipped.add(update.skipped)
        for name, value in update.sums.items():
            self._new_sums.setdefault(name, Scalars()).add(value)
            self._new_counts.setdefault(name, []).append((self._new_updates, update.counts[name]))
        self._new_updates += 1

    def _sum_up(self, *further: Tensor) -> list[float]:
        """Add the new updates to the sums, one after another, so that the sums are always bitwise the same.

        Return the values of `further` scalars of the device, which are copied together with the updates.
        """
        others = Scalars()
        for scalar in further:
            others.add(scalar)
        skipped_tensor, *values_by_name, copied = Scalars.read(
            self._new_skipped, *self._new_sums.values(), others
        )
        skipped = skipped_tensor.tolist()
        for name, values in zip(self._new_sums, values_by_name, strict=True):
            for value, (index, count) in zip(values, self._new_counts[name], strict=True):
                self._counts[name] = self._counts.get(name, 0) + (0 if skipped[index] else count)
                self._sums[name] = self._sums.get(name, 0) + (
                    torch.zeros_like(value) if skipped[index] else value
                )
        self._skipped += sum(skipped)
        self._new_sums, self._new_counts = {}, {}
        self._new_skipped, self._new_updates = Scalars(), 0
        return copied.tolist()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums since the last call of `read`; this waits for the device."""
        self._sum_up()
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
        """Restore the sums that `state_dict` returned. Earlier versions kept them on the device."""
        self._clear()
        self.updates = state["updates"]
        self._sums = {name: value.cpu() for name, value in state["sums"].items()}
        self._counts = {name: int(count) for name, count in state["counts"].items()}
        self._tokens, self._padding = state["tokens"], state["padding"]
        self._seconds, self._skipped = state["seconds"], int(state["skipped"])

    def read(self) -> WindowMeans:
        """Return the means since the last call, and start again; this waits for the device.

        There must have been an update since the last call.
        """
        last = self._last
        assert last is not None, "no update was added"
        (norm,) = self._sum_up(last.norm)
        means = WindowMeans(
            step=last.step,
            updates=self.updates,
            loss=self._mean("loss"),
            nll=self._mean("nll") if "nll" in last.sums else None,
            others={name: self._mean(name) for name in last.sums if name not in ("loss", "nll")},
            learning_rate=last.learning_rate,
            norm=norm,
            tokens=self._tokens,
            padding=self._padding / self.updates,
            seconds=self._seconds,
            skipped=self._skipped,
        )
        self._clear()
        return means

    def _mean(self, name: str) -> float:
        count = self._counts.get(name, 0)
        return float(self._sums[name]) / count if count else math.nan
