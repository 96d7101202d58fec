"""Average metrics over several updates."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import seqx


@dataclass(frozen=True, kw_only=True)
class WindowMeans:
    """The metrics of several updates."""

    step: int  # the last update
    updates: int
    loss: float  # nats per target token
    nll: float | None  # the same without label smoothing and additional terms, if the objective reports it
    others: Mapping[str, float]  # means of the objective's other terms, by name
    learning_rate: float  # of the last update
    norm: float  # gradient norm of the last update, before clipping
    tokens: int  # target tokens
    padding: float  # mean fraction of padding in the computed tokens
    seconds: float
    skipped: int  # updates with a loss or gradient that was not finite

    @property
    def perplexity(self) -> float:
        """The perplexity per token, from the negative log-likelihood, or from the loss if there is none."""
        nats = self.loss if self.nll is None else self.nll
        return seqx.perplexity(nats)

    @property
    def tokens_per_second(self) -> float:
        """Target tokens per second of training alone."""
        return self.tokens / self.seconds if self.seconds else 0.0


class Window:
    """Accumulates updates until they are read. Sums stay on the device, so adding does not wait for it."""

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
        """Add an update. The losses of skipped updates, which are usually not finite, do not count."""
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
        """Return the sums since the last reading."""
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
        """Restore the sums."""
        self.updates = state["updates"]
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
        self._tokens, self._padding = state["tokens"], state["padding"]
        self._seconds, self._skipped = state["seconds"], state["skipped"]

    def read(self) -> WindowMeans:
        """Return the means since the last reading; waits for the device. Needs at least one update."""
        last = self._last
        assert last is not None, "nothing was added"
        reading = WindowMeans(
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
        return reading

    def _mean(self, name: str) -> float:
        count = int(self._counts[name]) if name in self._counts else 0
        return float(self._sums[name]) / count if count else math.nan
