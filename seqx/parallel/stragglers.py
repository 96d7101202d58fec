"""Find a straggler: a rank that is much slower than the other ranks."""

import contextlib
import logging
import statistics
from collections.abc import Iterator, Sequence

from seqx.parallel.heartbeat import UPDATE
from seqx.parallel.process_group import World

WINDOW = 20
"""The number of updates over which the time of each rank is added up."""

FACTOR = 1.5
"""A straggler takes at least this many times as long as the median of the other ranks."""

LEAST_S = 0.01
"""A straggler is at least this many seconds per update slower than the median of the other ranks."""

log = logging.getLogger("seqx.parallel")


class Stragglers:
    """Measure the seconds that each rank takes for its own part of updates, without waiting for other ranks.

    This part lasts from the end of one update until all gradients of the next one are in the all-reduce. The
    time is that of the host; it includes work of a GPU only if the host waits for it. Pauses of the process
    are not counted.

    Args:
        world: the ranks
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._started: float | None = self.world.clock()  # None: time is not counted now
        self._own_seconds = 0.0
        self._seconds = [0.0] * world.size
        self._updates = 0

    def update_started(self) -> None:
        """Start to measure the time of an update, before its batch is fetched."""
        self._started = self.world.clock()
        self.world.enter_stage(UPDATE)

    def data_ready(self) -> float:
        """Stop counting; return the seconds of this rank's part of the previous update."""
        seconds, self._own_seconds = self._own_seconds, 0.0
        self._stop()
        return seconds

    def record(self, seconds: Sequence[float]) -> None:
        """Add the seconds of each rank in the previous update; start to measure the passes of this one."""
        self._started = self.world.clock()
        self._seconds = [total + new for total, new in zip(self._seconds, seconds, strict=True)]
        self._updates += 1
        if self._updates >= WINDOW:
            if self.world.is_rank_zero and (warning := self.warning()):
                log.warning(warning)
            self._seconds, self._updates = [0.0] * self.world.size, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Do not count the time in the block: this rank waits for others, or all ranks do the same work."""
        self._stop()
        with self.world.waiting():
            yield
        self._started = self.world.clock()

    def part_done(self) -> None:
        """Stop counting: this rank has done its part, and only waits for other ranks from now on."""
        self._stop()
        self.world.part_done()

    def _stop(self) -> None:
        if self._started is not None:
            self._own_seconds += self.world.clock() - self._started
        self._started = None

    def warning(self) -> str | None:
        """Return a message about the slowest rank, if it is much slower than the median; else None."""
        slowest = max(range(self.world.size), key=self._seconds.__getitem__)
        others = [seconds for rank, seconds in enumerate(self._seconds) if rank != slowest]
        median_seconds = statistics.median(others) / self._updates
        slowest_seconds = self._seconds[slowest] / self._updates
        if slowest_seconds < FACTOR * median_seconds or slowest_seconds - median_seconds < LEAST_S:
            return None
        return (
            f"rank {slowest} is a straggler: its part of an update takes {slowest_seconds:.3f} s, that of "
            f"the other ranks {median_seconds:.3f} s (median), and all ranks wait for it; check the load of "
            "its machine and its device"
        )
