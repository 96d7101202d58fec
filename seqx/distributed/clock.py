"""A clock that stands still while this process does: suspended, or in a virtual machine that is paused."""

import threading
import time
from collections.abc import Callable

PAUSE = 4.0
"""Seconds without a reading after which the process counts as paused; clocks are read more often."""


class Clock:
    """Counts the seconds in which this process ran.

    A thread reads it about once a second. If nobody read it for longer than `PAUSE`, no thread of the process
    ran in that time, and the time is not counted. It is monotonic time: that of a machine in suspend to RAM,
    which `CLOCK_BOOTTIME` would count, is not in it in the first place.

    Args:
        now: monotonic seconds
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._read = now()
        self._paused = 0.0

    def __call__(self) -> float:
        """The seconds until now, pauses left out."""
        with self._lock:
            now = self._now()
            if now - self._read > PAUSE:
                self._paused += now - self._read
            self._read = now
            return now - self._paused


class Silence:
    """Counts the seconds since another process gave a new sign of life.

    It must be asked about once a second. Counting begins anew if nobody asked for longer than `PAUSE`: then
    this process was paused, or the one that hands the signs on, and signs may be late for the same reason.

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
