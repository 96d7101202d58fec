"""Notices updates that go wrong, without waiting for the device update by update."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Gt
from torch import Tensor

from seqx.data.batches import Position
from seqx.training.update import Update

_EVERY = 16  # updates whose figures are copied at once


@dataclass(frozen=True, kw_only=True)
class Spike:
    """When training has left the road: several updates in a row are far above what was usual.

    An update counts when the norm of its gradient (before clipping), or its loss, is more than so many times
    the median of the last updates that did not count. None counts before there are `window` of these. To go
    back to a checkpoint and to pass over batches is the remedy of Chowdhery et al. 2022 (PaLM), section 5.1.

    Args:
        norm: times the median norm of the gradient
        loss: times the median loss
        updates: that count, in a row, until training goes back
        window: updates of which the medians are
    """

    norm: Annotated[float, Gt(1)] = 10.0
    loss: Annotated[float, Gt(1)] = 2.0
    updates: Annotated[int, Gt(0)] = 5
    window: Annotated[int, Gt(0)] = 100


class UpdateRef(NamedTuple):
    """An update, and where its batches are."""

    step: int
    at: Position


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Updates in a row that went wrong, as many as are too many."""

    kind: Literal["nonfinite", "spike"]
    marks: Sequence[UpdateRef]

    def __str__(self) -> str:
        """What went wrong, and where."""
        first, last = self.marks[0], self.marks[-1]
        found = {
            "nonfinite": "the gradient was not finite",
            "spike": "the gradient or the loss was far above the usual (training.spike)",
        }[self.kind]
        many = len(self.marks)
        times = "" if many == 1 else f" {many} times in a row, from update {first.step} on"
        return f"update {last.step} (batch {last.at.index + 1} of epoch {last.at.epoch + 1}): {found}{times}"


class DivergenceDetector:
    """Reads the figures of updates some time after they were made, from copies that nobody waited for.

    What it finds depends on the updates alone, never on when it looked.

    Args:
        nonfinite: updates in a row that may be skipped because they are not finite
        spike: what else is trouble; None: nothing
    """

    def __init__(self, *, nonfinite: int, spike: Spike | None) -> None:
        self.nonfinite = nonfinite
        self.spike = spike
        window = spike.window if spike is not None else 0
        self._norms, self._losses = deque[float](maxlen=window), deque[float](maxlen=window)
        self._skipped: list[UpdateRef] = []
        self._high: list[UpdateRef] = []
        self._new: list[tuple[UpdateRef, Tensor]] = []
        self._copied: tuple[list[UpdateRef], Tensor, torch.cuda.Event | None] | None = None

    def add(self, update: Update) -> Divergence | None:
        """Take an update in; trouble, where those that were copied long ago show it."""
        self._new.append((UpdateRef(update.step, update.at), update.health))
        if len(self._new) < _EVERY:
            return None
        trouble = self._read()
        self._copy()
        return trouble

    def look(self) -> Divergence | None:
        """What all updates so far show; waits for the device."""
        trouble = self._read()
        self._copy()
        return trouble or self._read()

    @property
    def suspects(self) -> bool:
        """Whether the last updates may become trouble."""
        return bool(self._skipped or self._high)

    def state_dict(self) -> dict[str, Any]:
        """What decides about the next updates. Everything added was looked at."""
        assert not self._new, "look comes first"
        assert self._copied is None, "look comes first"
        return {
            "norms": list(self._norms),
            "losses": list(self._losses),
            "skipped": _plain(self._skipped),
            "high": _plain(self._high),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; what was added since is forgotten."""
        self._norms = deque(state["norms"], self._norms.maxlen)
        self._losses = deque(state["losses"], self._losses.maxlen)
        self._skipped, self._high = _marks(state["skipped"]), _marks(state["high"])
        self._new, self._copied = [], None

    def forget(self) -> None:
        """Begin anew."""
        self.load_state_dict({"norms": [], "losses": [], "skipped": [], "high": []})

    def _copy(self) -> None:
        """Have what is new copied to the host, without waiting for it."""
        if not self._new:
            return
        marks, health = zip(*self._new, strict=True)
        together, event = torch.stack(health), None
        if together.is_cuda:
            host = torch.empty(together.shape, dtype=together.dtype, pin_memory=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            stream = torch.cuda.current_stream(together.device)  # which need not be the current device
            together = host.copy_(together, non_blocking=True)
            event.record(stream)
        self._copied, self._new = (list(marks), together, event), []

    def _read(self) -> Divergence | None:
        if self._copied is None:
            return None
        marks, together, event = self._copied
        self._copied = None
        if event is not None:
            event.synchronize()
        for mark, (skipped, norm, loss) in zip(marks, together.tolist(), strict=True):
            trouble = self._judge(mark, bool(skipped), norm, loss)
            if trouble is not None:
                return trouble
        return None

    def _judge(self, mark: UpdateRef, skipped: bool, norm: float, loss: float) -> Divergence | None:
        self._skipped = [*self._skipped, mark] if skipped else []
        if len(self._skipped) > self.nonfinite:
            return Divergence(kind="nonfinite", marks=self._skipped)
        if self.spike is None or skipped:
            return None
        if self._is_high(self.spike, norm, loss):
            self._high = [*self._high, mark]
            if len(self._high) == self.spike.updates:
                return Divergence(kind="spike", marks=self._high)
            return None
        self._high = []
        self._norms.append(norm)
        self._losses.append(loss)
        return None

    def _is_high(self, spike: Spike, norm: float, loss: float) -> bool:
        if len(self._norms) < spike.window:
            return False
        return norm > spike.norm * median(self._norms) or loss > spike.loss * median(self._losses)


def _plain(marks: Sequence[UpdateRef]) -> list[list[int]]:
    return [[mark.step, mark.at.epoch, mark.at.index] for mark in marks]


def _marks(plain: Sequence[Sequence[int]]) -> list[UpdateRef]:
    return [UpdateRef(step, Position(epoch, index)) for step, epoch, index in plain]
