"""Stopping when asked: signals that let a run save what it has and end."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""What people (Ctrl-C), machines that are switched off, and schedulers that take a node back send."""


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop: what catches an interrupt catches it."""

    def __init__(self, by: signal.Signals) -> None:
        super().__init__(by.name)
        self.by = by


class Stop:
    """Whether a signal asked this process to stop.

    While it is `listening`, a signal raises `Stopped` wherever the main thread is; while it is also `held`, a
    signal is only remembered, until somebody looks. A second SIGINT interrupts at once, held or not, and
    a third ends the process.
    """

    def __init__(self) -> None:
        self.by: signal.Signals | None = None
        self._held = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals, but not those that this process was started to be deaf to (`nohup`, `&`)."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may say what a signal does
            return
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._handle) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals wait until somebody looks."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def look(self) -> None:
        """Stop here, if that was asked.

        Raises:
            Stopped: a signal came
        """
        if self.by is not None:
            raise Stopped(self.by)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        again = self.by is not None and number == signal.SIGINT
        if again:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt
        first = self.by is None
        self.by = self.by or signal.Signals(number)
        if first and not self._held:
            raise Stopped(self.by)


_APART = "seqx-apart"


def in_thread(work: Callable[[], T], name: str | None = None) -> "Future[T]":
    """What comes of something that a thread does, which nobody has to wait for, not even the end of all."""
    future = Future[T]()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  whoever waits for it gets it
            future.set_exception(error)

    threading.Thread(target=do, name=name, daemon=True).start()
    return future


def interruptible_call(work: Callable[[], T]) -> T:
    """What comes of something that takes long outside of Python, where no signal would be heard.

    A signal, or whatever else is raised here, leaves it behind: see `has_abandoned_threads`.
    """
    future = in_thread(work, _APART)
    while not future.done():
        wait([future], 0.1)
    return future.result()


def has_abandoned_threads() -> bool:
    """Whether something goes on apart, over which an interpreter that takes its leave could stumble."""
    left = [thread for thread in threading.enumerate() if thread.name == _APART]
    for thread in left:
        thread.join(0.2)
    return any(thread.is_alive() for thread in left)
