"""Heartbeats: every rank reports to a shared store and checks its neighbour.

A rank that waits for a dead one in a collective call cannot be interrupted. So a thread in every process ends
it once any rank has failed. Only the rank that finds out first prints a message.
"""

import contextlib
import faulthandler
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Self

import click
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store  # public in torch.distributed but for its types

from seqx.errors import UserError, user_can_fix
from seqx.parallel.clock import Clock, Silence
from seqx.runtime.signals import Stopped

BEAT_EVERY_S = 1.0
"""Seconds between two heartbeats."""

DEAD_AFTER_S = 12.0
"""Seconds without a new heartbeat after which a rank counts as dead."""

HANG_AFTER_S = 15.0
"""Seconds after which a rank may count as hanging in an update; the limit is ten times the slowest update so
far, if that is more."""

GRACE_S = 4.0
"""Seconds that a process has to exit by itself after a rank has failed."""

UPDATE = "update"
"""The stage in which all ranks do the same work, so that their times can be compared."""


@dataclass(frozen=True)
class Beat:
    """The heartbeat of a rank: it is alive, and does the work of a stage."""

    number: int
    stage: str
    since: float  # seconds of work in this stage, without pauses; 0 while the rank waits for others
    limit: float | None  # seconds of work after which it counts as hanging; None: unknown
    host: str
    pid: int
    node: str  # number of the machine in the run


@dataclass(frozen=True)
class Verdict:
    """The reason why a run ends: the rank that caused it, and the exit code of all processes."""

    rank: int
    code: int
    message: str | None  # about a rank that cannot report its failure itself
    hang: bool = False  # true if the rank hangs, false if it failed or is dead


class Mailbox:
    """The heartbeats and the verdict of one launch of a run, in the store that all ranks share.

    A launcher that restarts the ranks may keep the store, with the entries of earlier launches.
    """

    def __init__(self, store: Store, rank: int, size: int, launch: int = 0) -> None:
        self.rank = rank
        self.size = size
        self.launch = launch
        # A connection of its own, so that calls of other threads cannot delay heartbeats.
        own = store.clone()  # type: ignore[attr-defined]  # missing in torch's type stubs
        self.store = PrefixStore(f"watch/{launch}", own)
        self.store.set_timeout(timedelta(seconds=DEAD_AFTER_S))

    @classmethod
    def of_this_launch(cls, store: Store, rank: int, size: int) -> Self:
        """Join the first launch that has not ended; first end any launch in which this rank already ran."""
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


class Heartbeat:
    """A thread that sends heartbeats, checks the next rank, and ends this process once there is a verdict."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.clock = Clock()
        self._stage = "starting"
        self._began = self.clock()
        self._slowest = 0.0
        self._has_slowest = False  # true once an update has ended, whose time is a limit for the next ones
        self._waits = False
        self._depth = 0  # the number of nested blocks in which this rank waits
        self._num_beats = 0
        self._lockstep = False  # see expect_lockstep
        self._stopped = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Send the first heartbeat, so that a death right afterwards is noticed; start the thread."""
        self._beat()
        self._thread.start()

    def expect_lockstep(self) -> None:
        """Record that every step of an update waits for all ranks, so that no rank knows which one hangs."""
        self._lockstep = True

    def stop(self) -> None:
        """Stop the thread, at the end of the run."""
        self._stopped.set()
        self._thread.join()

    def enter_stage(self, name: str) -> None:
        """Record what this rank does from now on."""
        self._end_period()
        self._has_slowest = self._has_slowest or self._stage == UPDATE
        self._stage, self._waits = name, False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Record that this rank waits for others in the block."""
        self._depth += 1
        self.share_done()
        try:
            yield
        finally:
            self._depth -= 1
            self._began, self._waits = self.clock(), self._depth > 0

    def share_done(self) -> None:
        """Record that this rank has done its part of the stage, and only waits for others."""
        self._end_period()
        self._waits = True

    def _end_period(self) -> None:
        """End a period of work. The longest one in an update determines the limit for later ones."""
        now = self.clock()
        if self._stage == UPDATE and not self._waits:
            self._slowest = max(self._slowest, now - self._began)
        self._began = now

    def failed(self, error: BaseException, *, contact: bool) -> None:
        """End all ranks after an error of this one, or exit silently if another rank has failed first.

        Args:
            error: the error of this rank
            contact: true if the error only says that another rank does not answer
        """
        code = _exit_code(error)
        self._failed = True
        with contextlib.suppress(dist.DistError, RuntimeError):
            if contact:  # another rank may find out which one is dead, and claim the verdict
                self._wait(DEAD_AFTER_S + 4 * BEAT_EVERY_S)
            verdict = self.mailbox.claim(Verdict(self.mailbox.rank, code, None))
            if verdict.rank != self.mailbox.rank:
                time.sleep(GRACE_S)
                leave(verdict.code)
        # This process prints its error. Torch's clean-up at exit could wait for ever.
        threading.Timer(GRACE_S, leave, (code,)).start()

    def _wait(self, seconds: float) -> None:
        """Wait until `stop` at most. A pause of the process shortens the wait by at most one beat."""
        for _ in range(round(seconds / BEAT_EVERY_S)):
            if self._stopped.wait(BEAT_EVERY_S):
                return

    def _run(self) -> None:
        other = (self.mailbox.rank + 1) % self.mailbox.size
        silence = Silence()
        while not self._stopped.wait(BEAT_EVERY_S):
            try:
                self._beat()
                verdict = self.mailbox.verdict()
                if verdict is None and (beat := self.mailbox.beat(other)) is not None:
                    verdict = self._check(other, beat, silence.after(beat.number))
            except dist.DistStoreError:
                continue  # the process that holds the store was paused
            except (dist.DistError, RuntimeError):
                if not self._stopped.is_set() and not self._failed:
                    self._leave_lost()
                return
            if verdict is not None:
                self._leave_with(verdict)

    def _beat(self) -> None:
        self._num_beats += 1
        now = self.clock()  # read it at every heartbeat: it takes a longer gap for a pause
        seconds_of_work = 0.0 if self._waits else now - self._began
        limit = max(HANG_AFTER_S, 10 * self._slowest) if self._stage == UPDATE and self._has_slowest else None
        node = os.environ.get("GROUP_RANK", "0")
        self.mailbox.send(
            Beat(
                self._num_beats, self._stage, seconds_of_work, limit, socket.gethostname(), os.getpid(), node
            )
        )

    def _check(self, rank: int, beat: Beat, silent: float) -> Verdict | None:
        """End the run if a rank is dead or hangs, given the seconds since its last beat."""
        who = f"process {rank} ({beat.host}, pid {beat.pid})"
        if silent > DEAD_AFTER_S:
            message = (
                f"{who}: no sign of life for {silent:.0f} s, last at: {beat.stage}; it was killed or stopped"
            )
        elif beat.limit is not None and beat.since > beat.limit:
            message = (
                f"{who}: hangs: it has been at its share of an update for {beat.since:.0f} s, and no update "
                f"before took more than {max(beat.limit / 10, 0.1):.1f} s"
            )
            if self._lockstep:
                message += ", or it waits for one of the others; all show where they are"
        else:
            return None
        verdict = Verdict(rank, 1, message, hang=silent <= DEAD_AFTER_S)
        first = self.mailbox.claim(verdict)
        if first == verdict:
            print(message, file=sys.stderr, flush=True)  # noqa: T201  this thread has no caller
            if beat.node == os.environ.get("GROUP_RANK", "0") and silent > DEAD_AFTER_S:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(beat.pid, signal.SIGKILL)  # a stopped process cannot exit by itself
        return first

    def _leave_lost(self) -> None:
        """Exit because the launcher, which holds the store, has ended."""
        if os.environ.get("LOCAL_RANK", "0") == "0":
            message = "what started this run (torchrun, or seqx run --devices) is gone; its processes end"
            print(message, file=sys.stderr, flush=True)  # noqa: T201  this thread has no caller
        leave(1)

    def _leave_with(self, verdict: Verdict) -> None:
        """Exit with the verdict's code; show where this rank hangs, if it does."""
        if verdict.message is not None and (
            verdict.rank == self.mailbox.rank or (verdict.hang and self._lockstep)
        ):
            with contextlib.suppress(OSError, RuntimeError):  # standard error cannot be written
                faulthandler.dump_traceback(sys.stderr)  # shows where this process hangs
        if verdict.rank == self.mailbox.rank and verdict.message is None:
            return  # this process is exiting, and prints why
        if verdict.message is None:
            time.sleep(GRACE_S)  # let the failed rank print its error before the launcher ends it
        leave(verdict.code)


def _exit_code(error: BaseException) -> int:
    """Return the exit code for an error."""
    match error:
        case UserError():
            return error.code
        case OSError() if user_can_fix(error):
            return UserError.code
        case Stopped():
            return os.EX_TEMPFAIL
        case KeyboardInterrupt():
            return 128 + signal.SIGINT
        case SystemExit(code=int(code)) | click.exceptions.Exit(exit_code=code):
            return code
    return 1


def leave(code: int) -> None:
    """Exit at once, because torch's threads may abort a normal exit of the interpreter."""
    for stream in (sys.stdout, sys.stderr):
        # The output may be closed, or cannot be written.
        with contextlib.suppress(OSError, UserError, AttributeError):
            stream.flush()
    os._exit(code)


def is_lost_contact(error: BaseException) -> bool:
    """Return true if another rank does not answer, by the types and messages of errors of torch."""
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    known: tuple[Any, ...] = (dist.DistError, dist.DistNetworkError)
    return isinstance(error, known) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
