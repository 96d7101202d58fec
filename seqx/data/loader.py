"""The batches of updates, and a thread that builds further batches while the model is trained."""

import queue
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch

from seqx.data.ragged import Integers
from seqx.errors import UserError
from seqx.interfaces.tensors import Batch, rows


@dataclass(frozen=True, order=True)
class Position:
    """The position of an update in training: its epoch and its index in that epoch, both from 0."""

    epoch: int = 0
    index: int = 0


class Microbatch(NamedTuple):
    """Examples that one forward and backward pass computes, and their indices in the store."""

    batch: Batch
    examples: Integers

    @property
    def num_rows(self) -> int:
        """The number of rows of the batch."""
        return len(self.batch.columns["target"].values)

    @property
    def row_of(self) -> Integers:
        """The row of each example in the batch, ascending."""
        numbers, segments = np.arange(self.num_rows), self.batch.columns["target"].layout.segments
        return numbers if segments is None else np.repeat(numbers, segments.amax(1).numpy() + 1)

    def halves(self) -> "list[Microbatch]":
        """Return the two halves of the rows; the microbatch itself if it has a single row."""
        if self.num_rows == 1:
            return [self]
        halves = []
        for index in torch.arange(self.num_rows).tensor_split(2):
            columns = {name: rows(column, index) for name, column in self.batch.columns.items()}
            count = int(columns["target"].layout.keep.sum())
            chosen = self.examples[np.isin(self.row_of, index)]
            halves.append(Microbatch(Batch(columns, count), chosen))
        return halves

    @property
    def padded_tokens(self) -> int:
        """The number of tokens in all columns, including padding."""
        return sum(column.layout.keep.numel() for column in self.batch.columns.values())


@dataclass(frozen=True, kw_only=True)
class UpdateBatch:
    """The part of one update that this rank computes, split into microbatches."""

    position: Position
    microbatches: list[Microbatch]
    target_tokens: int  # of the whole update, over all ranks
    token_fraction: float  # tokens without padding, divided by padded tokens, over `microbatches`
    dummy: Microbatch | None = None  # a short example for ranks without microbatches

    @property
    def next(self) -> Position:
        """The position from which training continues after this update."""
        return Position(self.position.epoch, self.position.index + 1)


_START = Position()
_POLL_SECONDS = 0.05
_JOIN_SECONDS = 1.0  # to wait for the stopped thread; if it is planning an epoch, it ends later


_Item = UpdateBatch | BaseException


class BatchSource(Protocol):
    """The methods of `Batches` that the loader uses."""

    @property
    def plan_lock(self) -> threading.Lock:
        """Locked while an epoch is being planned."""
        ...

    def update_batches(
        self, start: Position, *, skip: Collection[Position] = (), pin: bool = False
    ) -> Iterator[UpdateBatch]:
        """Yield the batches of all updates from `start` on."""
        ...


class BatchLoader:
    """An iterator over update batches that a background thread builds ahead.

    The thread stops when the loader is closed or garbage collected.

    Args:
        batches: builds the batches
        start: position of the first update
        skip: updates to skip
        device: device that trains; batches for CUDA are put into pinned memory
        prefetch: maximum number of batches that are built ahead
        while_blocked: context manager that is entered while training waits for the plan of an epoch, so that
            this process does not count as a straggler
    """

    def __init__(
        self,
        batches: BatchSource,
        start: Position = _START,
        *,
        skip: Collection[Position] = (),
        device: torch.device | None = None,
        prefetch: int = 8,
        while_blocked: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._batches = batches
        self._while_blocked = while_blocked
        pin = device is not None and device.type == "cuda"
        self._queue: queue.Queue[_Item] = queue.Queue(prefetch)
        stop = threading.Event()
        # The thread must not refer to this object, or the loader would never be garbage collected.
        stream = batches.update_batches(start, skip=skip, pin=pin)
        self._thread = threading.Thread(target=_produce, args=(stream, self._queue, stop), daemon=True)
        self._close = weakref.finalize(self, _stop, self._thread, stop, self._queue)
        self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> UpdateBatch:
        if not self._close.alive:
            raise StopIteration
        item = self._get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        return item

    def _get(self) -> _Item:
        while True:
            # Check this before reading the queue: a thread that has ended may have left batches in it.
            alive = self._thread.is_alive()
            with self._while_blocked() if self._batches.plan_lock.locked() else nullcontext():
                try:
                    return self._queue.get(timeout=_POLL_SECONDS if alive else 0)
                except queue.Empty:
                    if not alive:
                        return UserError(
                            "the thread that builds batches ended unexpectedly; run the same command again "
                            "to continue"
                        )

    def close(self) -> None:
        """Stop the thread and the iteration."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _produce(batches: Iterator[UpdateBatch], out: "queue.Queue[_Item]", stop: threading.Event) -> None:
    try:
        for batch in batches:
            if not _put(batch, out, stop):
                return
    except BaseException as error:  # noqa: BLE001  it is raised in the thread that iterates
        _put(error, out, stop)


def _put(item: _Item, out: "queue.Queue[_Item]", stop: threading.Event) -> bool:
    """Put the item into the queue once there is a free place; return false if the loader was stopped."""
    while not stop.is_set():
        try:
            out.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return not stop.is_set()
    return False


def _stop(thread: threading.Thread, stop: threading.Event, out: "queue.Queue[_Item]") -> None:
    stop.set()
    with suppress(queue.Empty):  # if the thread waits for a free place in the queue, it continues
        while True:
            out.get_nowait()
    # The garbage collector may call this in the thread itself.
    if thread is not threading.current_thread():
        thread.join(_JOIN_SECONDS)
