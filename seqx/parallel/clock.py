"""A clock that stops while this process is suspended or its virtual machine is paused."""

import threading
import time
from collections.abc import Callable

PAUSE = 4.0
"""Seconds between two readings of a clock; if more pass, the process was paused."""


class Clock:
    """A clock of the seconds in which this process ran.

    A thread reads it about once a second. If it was not read for longer than `PAUSE`, the process was paused,
    and this time is not counted. The monotonic clock itself stops while a machine is suspended to RAM.

    Args:
        now: returns monotonic seconds
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
    """A measurement of the seconds since another process sent its last heartbeat.

    Call `seconds` about once a second. After a gap longer than `PAUSE` it counts from 0: this process or the
    process that holds the store was paused, and the pause may have delayed heartbeats.

    Args:
        now: returns monotonic seconds
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._number = -1
        self._since = self._called_at = now()

    def seconds(self, number: int) -> float:
        """Return the seconds since heartbeat `number`, the newest one, was first seen."""
        now = self._now()
        if number != self._number or now - self._called_at > PAUSE:
            self._number, self._since = number, now
        self._called_at = now
        return now - self._since
