"""Which device keeps the others waiting."""

import contextlib
import logging
import statistics
from collections.abc import Iterator, Sequence

from seqx.parallel import World
from seqx.parallel.heartbeat import UPDATE

WINDOW = 20
"""Updates over which the time of each device is added up."""

FACTOR = 1.5
"""How many times as long as most others a straggler takes."""

LEAST = 0.01
"""Seconds an update that are worth a word."""

log = logging.getLogger("seqx.parallel")


class Stragglers:
    """Adds up what each process takes for its own share of updates, waiting for others left out.

    That is from the end of one update to the moment when all gradients of the next were handed over. Where a
    GPU computes it is the time of the host, which the device's work holds up as far as the host waits for it.
    Time in which the process was suspended does not count.

    Args:
        world: the processes
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._began: float | None = self.world.clock()  # None: it has handed over its share and waits
        self._own = 0.0
        self._spent = [0.0] * world.size
        self._updates = 0

    def began(self) -> None:
        """An update begins: its batches are asked for."""
        self._began = self.world.clock()
        self.world.enter_stage(UPDATE)

    def arrived(self) -> float:
        """This process has its batches, and tells what it took for the update before."""
        spent, self._own = self._own, 0.0
        self._stop()
        return spent

    def heard(self, spent: Sequence[float]) -> None:
        """What each process took for the update before; now the next one is computed."""
        self._began = self.world.clock()
        self._spent = [before + more for before, more in zip(self._spent, spent, strict=True)]
        self._updates += 1
        if self._updates >= WINDOW:
            if self.world.is_rank_zero and (said := self.found()):
                log.warning(said)
            self._spent, self._updates = [0.0] * self.world.size, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """In the block this process waits, for others or for what all of them have to do."""
        self._stop()
        with self.world.waiting():
            yield
        self._began = self.world.clock()

    def handed_over(self) -> None:
        """This process has done its share, and waits for the others from here on."""
        self._stop()
        self.world.share_done()

    def _stop(self) -> None:
        if self._began is not None:
            self._own += self.world.clock() - self._began
        self._began = None

    def found(self) -> str | None:
        """A word on the slowest process, if it is much slower than most."""
        slowest = max(range(self.world.size), key=self._spent.__getitem__)
        others = [seconds for rank, seconds in enumerate(self._spent) if rank != slowest]
        usual, most = statistics.median(others) / self._updates, self._spent[slowest] / self._updates
        if most < FACTOR * usual or most - usual < LEAST:
            return None
        return (
            f"process {slowest} is a straggler: {most:.3f} s an update, the others {usual:.3f} s; "
            "all wait for it"
        )
