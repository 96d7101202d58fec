"""Handle the signals that ask a run to save its state and stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""The signals of Ctrl-C, of machines that shut down, and of schedulers that preempt a job."""


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop."""

    def __init__(self, signal_: signal.Signals) -> None:
        super().__init__(signal_.name)
        self.signal = signal_

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows in place of a traceback."""
        return [f"stopped by {self}"]


class StopRequest:
    """The first signal that asked this process to stop, if any.

    In a `handling_signals` block a signal raises `Stopped` in the main thread. In a `deferred` block it is
    only recorded until `raise_if_requested` is called. In both, a second SIGINT raises KeyboardInterrupt at
    once, and a third one ends the process.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._is_deferred = False

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle signals in the block, except signals that this process ignores (`nohup`, `&`)."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._handle) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Record signals in the block instead of raising; see `raise_if_requested`."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def raise_if_requested(self) -> None:
        """Raise `Stopped` if a signal was recorded.

        Raises:
            Stopped: a signal asked this process to stop
        """
        if self.signal is not None:
            raise Stopped(self.signal)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        is_first = self.signal is None
        if not is_first and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number)
        if is_first and not self._is_deferred:
            raise Stopped(self.signal)
