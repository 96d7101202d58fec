"""A thread that builds the batches of the next updates while the model is trained on the current one."""

import queue
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

import torch

from seqx.data.batches import Batches, Position, UpdateBatch
from seqx.errors import UserError

_START = Position()
_POLL_SECONDS = 0.05
_JOIN_SECONDS = 1.0  # a thread that is planning an epoch ends by itself, later

_Item = UpdateBatch | BaseException


class BatchLoader:
    """An iterator over update batches that a background thread builds ahead.

    The thread stops when the loader is closed or garbage collected.

    Args:
        batches: builds the batches
        start: position of the first update
        skip: updates to leave out
        device: device that trains; batches for CUDA are put into pinned memory
        prefetch: maximum number of batches that are built ahead
        while_blocked: context manager that is entered while training waits for the plan of an epoch, so that
            this process does not count as a straggler
    """

    def __init__(
        self,
        batches: Batches,
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
        # The thread must not refer to this object: else the loader could not be collected while it runs.
        stream = batches.update_batches(start, skip=skip, pin=pin)
        self._thread = threading.Thread(target=_produce, args=(stream, self._queue, stop), daemon=True)
        self._close = weakref.finalize(self, _stop, self._thread, stop)
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
            # Ask before the queue is read: a thread that has ended may have left batches in it.
            alive = self._thread.is_alive()
            with self._while_blocked() if self._batches.is_planning else nullcontext():
                try:
                    return self._queue.get(timeout=_POLL_SECONDS if alive else 0)
                except queue.Empty:
                    if not alive:
                        return UserError(
                            "the thread that builds batches died; run the same command again to continue"
                        )

    def close(self) -> None:
        """Stop the thread; iteration ends."""
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
    """Return true once the item is in the queue, false if the loader was stopped first."""
    while not stop.is_set():
        try:
            out.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False


def _stop(thread: threading.Thread, stop: threading.Event) -> None:
    stop.set()
    # The garbage collector may call this in the thread itself.
    if thread is not threading.current_thread():
        thread.join(_JOIN_SECONDS)
