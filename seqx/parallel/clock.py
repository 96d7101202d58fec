"""A clock that stops while this process is suspended or its virtual machine is paused."""

import threading
import time
from collections.abc import Callable

PAUSE = 4.0
"""Seconds between two readings from which on the process counts as paused."""


class Clock:
    """Counts the seconds in which this process ran.

    A thread reads it about once a second. If it was not read for longer than `PAUSE`, the process did not run
    in that time, and the time is not counted. Monotonic time does not count suspend to RAM either, unlike
    `CLOCK_BOOTTIME`.

    Args:
        now: monotonic seconds
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._read = now()
        self._paused = 0.0

    def __call__(self) -> float:
        """Return the seconds until now, without pauses."""
        with self._lock:
            now = self._now()
            if now - self._read > PAUSE:
                self._paused += now - self._read
            self._read = now
            return now - self._paused


class Silence:
    """Counts the seconds since another process gave a new sign of life.

    It must be called about once a second. After a gap longer than `PAUSE` it counts from 0: this process
    or the one that holds the store was paused, and signs of life can be late for the same reason.

    Args:
        now: monotonic seconds
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._number = -1
        self._since = self._asked = now()

    def after(self, number: int) -> float:
        """Return the seconds of silence, given the number of the last sign."""
        now = self._now()
        if number != self._number or now - self._asked > PAUSE:
            self._number, self._since = number, now
        self._asked = now
        return now - self._since
