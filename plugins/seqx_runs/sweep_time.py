"""An estimate of the time until the trials of a sweep end."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import seqx


@dataclass(kw_only=True)
class RemainingTime:
    """An estimate of the remaining time, from the durations of the trials that ended well.

    A part of a resumed trial ran before, so its duration is used only if no other duration is known.

    Args:
        jobs: number of trials at the same time
        until: the end of the estimate, such as "until the next comparison"; empty: the end of the sweep
    """

    jobs: int
    until: str = ""
    _durations: list[float] = field(default_factory=list, init=False)
    _of_resumed: list[float] = field(default_factory=list, init=False)

    def add(self, seconds: float, *, was_resumed: bool) -> None:
        """Add the duration of a trial that ended well."""
        (self._of_resumed if was_resumed else self._durations).append(seconds)

    def seconds(self, elapsed: Sequence[float], waiting: int) -> float | None:
        """Return the estimated seconds until all trials have ended; None if no duration is known.

        Args:
            elapsed: for each running trial the seconds since its start
            waiting: the number of trials that have not started
        """
        known = self._durations or self._of_resumed
        if not known:
            return None
        mean = fmean(known)
        ends = [max(0.0, mean - seconds) for seconds in elapsed]
        ends += [0.0] * (self.jobs - len(ends))
        heapq.heapify(ends)
        for _ in range(waiting):  # each one starts when the next of the running ones ends
            heapq.heapreplace(ends, ends[0] + mean)
        return max(ends)

    def text(self, elapsed: Sequence[float], waiting: int) -> str:
        """Return "; 3 trials left, about 12 min" with the arguments of `seconds`; empty if none is left."""
        count, seconds = len(elapsed) + waiting, self.seconds(elapsed, waiting)
        if not count:
            return ""
        left = f"; {count} trial{'' if count == 1 else 's'} left{self.until and f' {self.until}'}"
        return left if seconds is None else f"{left}, about {seqx.format_long_duration(seconds)}"
