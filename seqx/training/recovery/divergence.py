"""Detect non-finite updates and loss spikes, without waiting for the device after each update."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from seqx.data.loader import Position
from seqx.training.config import Spike
from seqx.training.update import Update

_COPY_EVERY = 16  # updates whose loss and norm are copied to the host together


class UpdateRef(NamedTuple):
    """An update, and the position of its batch."""

    step: int
    at: Position


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Too many non-finite updates in a row, or a loss spike."""

    kind: Literal["nonfinite", "spike"]
    updates: Sequence[UpdateRef]

    def __str__(self) -> str:
        """Return a message that names the last update, its batch and the reason."""
        first, last = self.updates[0], self.updates[-1]
        reason = {
            "nonfinite": "the loss or the gradient was not finite",
            "spike": "the loss or the gradient was far above the median (training.spike)",
        }[self.kind]
        count = len(self.updates)
        times = "" if count == 1 else f" {count} times in a row, from update {first.step} on"
        return f"update {last.step} (batch {last.at.index + 1} of epoch {last.at.epoch + 1}): {reason}{times}"


class DivergenceDetector:
    """A detector of divergence, which checks the loss and the gradient norm of each update.

    It copies them to the host without waiting, and checks them some updates later. The result depends on the
    updates alone, not on the time at which copies arrive.

    Args:
        nonfinite: the largest number of non-finite updates in a row that is not a divergence
        spike: the detection of spikes; None: detect only non-finite updates
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
        """Add an update; return a divergence if updates that were copied earlier show one."""
        self._new.append((UpdateRef(update.step, update.at), update.health))
        if len(self._new) < _COPY_EVERY:
            return None
        divergence = self._read()
        self._copy()
        return divergence

    def flush(self) -> Divergence | None:
        """Wait for the device; return a divergence if any update so far shows one."""
        divergence = self._read()
        self._copy()
        return divergence or self._read()

    @property
    def may_diverge(self) -> bool:
        """True if the last update was non-finite or high (see `Spike`), without being a divergence yet."""
        return bool(self._skipped or self._high)

    @property
    def skipped(self) -> Divergence | None:
        """The non-finite updates in a row up to the last update; None if that one was finite."""
        return Divergence(kind="nonfinite", updates=self._skipped) if self._skipped else None

    def state_dict(self) -> dict[str, Any]:
        """Return the values that later updates are compared with. Call `flush` first."""
        assert not self._new, "flush comes first"
        assert self._copied is None, "flush comes first"
        return {
            "norms": list(self._norms),
            "losses": list(self._losses),
            "skipped": _as_lists(self._skipped),
            "high": _as_lists(self._high),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; drop all updates that were added since it was saved."""
        self._norms = deque(state["norms"], self._norms.maxlen)
        self._losses = deque(state["losses"], self._losses.maxlen)
        self._skipped, self._high = _from_lists(state["skipped"]), _from_lists(state["high"])
        self._new, self._copied = [], None

    def reset(self) -> None:
        """Forget all updates."""
        self.load_state_dict({"norms": [], "losses": [], "skipped": [], "high": []})

    def _copy(self) -> None:
        """Start to copy the health of new updates to the host, without waiting for it."""
        if not self._new:
            return
        refs, health = zip(*self._new, strict=True)
        values, event = torch.stack(health), None
        if values.is_cuda:
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            # The values may be on another device than the current one.
            stream = torch.cuda.current_stream(values.device)
            values = host.copy_(values, non_blocking=True)
            event.record(stream)
        self._copied, self._new = (list(refs), values, event), []

    def _read(self) -> Divergence | None:
        """Wait for the last copy, and classify its updates."""
        if self._copied is None:
            return None
        refs, values, event = self._copied
        self._copied = None
        if event is not None:
            event.synchronize()
        for ref, (skipped, norm, loss) in zip(refs, values.tolist(), strict=True):
            divergence = self._classify(ref, bool(skipped), norm, loss)
            if divergence is not None:
                return divergence
        return None

    def _classify(self, ref: UpdateRef, skipped: bool, norm: float, loss: float) -> Divergence | None:
        self._skipped = [*self._skipped, ref] if skipped else []
        if len(self._skipped) > self.nonfinite:
            return Divergence(kind="nonfinite", updates=self._skipped)
        if self.spike is None or skipped:
            return None
        if self._is_high(self.spike, norm, loss):
            self._high = [*self._high, ref]
            if len(self._high) == self.spike.updates:
                return Divergence(kind="spike", updates=self._high)
            return None
        self._high = []
        self._norms.append(norm)
        self._losses.append(loss)
        return None

    def _is_high(self, spike: Spike, norm: float, loss: float) -> bool:
        if len(self._norms) < spike.window:
            return False
        return norm > spike.norm * median(self._norms) or loss > spike.loss * median(self._losses)


def _as_lists(refs: Sequence[UpdateRef]) -> list[list[int]]:
    return [[ref.step, ref.at.epoch, ref.at.index] for ref in refs]


def _from_lists(lists: Sequence[Sequence[int]]) -> list[UpdateRef]:
    return [UpdateRef(step, Position(epoch, index)) for step, epoch, index in lists]
