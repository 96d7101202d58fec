"""A clock that stops while this process is suspended or its virtual machine is paused."""

import threading
import time
from collections.abc import Callable

PAUSE = 4.0
"""If more seconds pass between two readings, the process counts as paused."""


class Clock:
    """Counts the seconds in which this process ran.

    A thread reads it about once a second. If it was not read for longer than `PAUSE`, the process was paused,
    and this time is not counted. Monotonic time does not count suspend to RAM either, unlike
    `CLOCK_BOOTTIME`.

    Args:
        now: monotonic seconds
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._read_at = now()
        self._paused = 0.0

    def __call__(self) -> float:
        """Return the seconds until now, without pauses."""
        with self._lock:
            now = self._now()
            if now - self._read_at > PAUSE:
                self._paused += now - self._read_at
            self._read_at = now
            return now - self._paused


class Silence:
    """Counts the seconds since the last new heartbeat of another process.

    Call `after` about once a second. After a gap longer than `PAUSE` it counts from 0: this process or the
    one that holds the store was paused, and the pause may have delayed heartbeats, too.

    Args:
        now: monotonic seconds
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._number = -1
        self._since = self._called_at = now()

    def after(self, number: int) -> float:
        """Return the seconds since a new heartbeat arrived, given the number of the last one."""
        now = self._now()
        if number != self._number or now - self._called_at > PAUSE:
            self._number, self._since = number, now
        self._called_at = now
        return now - self._since
