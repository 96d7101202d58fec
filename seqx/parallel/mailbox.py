"""The messages by which ranks tell each other that they are alive, or that the run ends."""

import itertools
import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Self

from torch._C._distributed_c10d import PrefixStore, Store  # torch.distributed exports it without types

DEAD_AFTER_S = 12.0
"""Seconds without a new heartbeat after which a rank counts as dead."""


@dataclass(frozen=True)
class Beat:
    """The heartbeat of a rank: the rank is alive, and this is its work."""

    number: int
    stage: str  # the work of the rank, such as "update" or "saving"
    work_seconds: float  # in this stage, without pauses; 0 while the rank waits for other ranks
    limit: float | None  # seconds of work after which the rank counts as hanging; None: unknown
    host: str
    pid: int
    node: str  # the number of the machine in the run


@dataclass(frozen=True)
class Verdict:
    """The decision that a run ends, because one rank failed, is dead or hangs."""

    rank: int  # the rank that is the reason
    code: int  # the exit code of all processes
    message: str | None  # about a rank that cannot report its failure itself; None: it can
    hang: bool = False  # true if the rank hangs, false if it failed or is dead


class Mailbox:
    """The heartbeats and the verdict of one launch of a run, in the store that all ranks share.

    A launcher that restarts the ranks may keep the store with the entries of earlier launches.
    """

    def __init__(self, store: Store, rank: int, size: int, launch: int = 0) -> None:
        self.rank = rank
        self.size = size
        self.launch = launch
        # Use a separate connection, so that calls of other threads cannot delay heartbeats.
        connection = store.clone()  # type: ignore[attr-defined]  # missing in torch's type stubs
        self.store = PrefixStore(f"watch/{launch}", connection)
        self.store.set_timeout(timedelta(seconds=DEAD_AFTER_S))

    @classmethod
    def of_this_launch(cls, store: Store, rank: int, size: int) -> Self:
        """End each launch in which this rank already ran, and join the first one that has not ended."""
        for launch in itertools.count():
            mailbox = cls(store, rank, size, launch)
            if mailbox.beat(rank) is not None:
                mailbox.claim(Verdict(rank, 1, None))
            if mailbox.verdict() is None:
                break
        return mailbox

    def send(self, beat: Beat) -> None:
        """Write the heartbeat of this rank."""
        self.store.set(f"sign/{self.rank}", json.dumps(asdict(beat)))

    def beat(self, rank: int) -> Beat | None:
        """Return the last heartbeat of a rank; None if there is none yet."""
        key = f"sign/{rank}"
        return Beat(**json.loads(self.store.get(key))) if self.store.check([key]) else None

    def claim(self, verdict: Verdict) -> Verdict:
        """End the run with a verdict, unless it has one already; return the verdict of the run."""
        first = self.store.compare_set("end", "", json.dumps(asdict(verdict)))
        return Verdict(**json.loads(first))

    def verdict(self) -> Verdict | None:
        """Return the verdict of the run; None if it has not ended."""
        return Verdict(**json.loads(self.store.get("end"))) if self.store.check(["end"]) else None
