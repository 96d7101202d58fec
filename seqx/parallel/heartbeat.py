"""That all processes of a run live: each beats in a store, and watches the next one and the news.

A process that is gone cannot be asked, and a process that waits for it in a collective call cannot be woken.
So a thread in each of them ends it, once one has failed. Whoever finds out first says so, alone.
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
"""Seconds between two signs of life."""

DEAD_AFTER_S = 12.0
"""Seconds without a sign of life after which a process counts as gone."""

HANG_AFTER_S = 15.0
"""Seconds that an update may take at least; at most ten times as long as the slowest update before."""

GRACE_S = 4.0
"""Seconds that a process has to leave by itself after another one failed, or it itself."""

UPDATE = "update"
"""The stage in which all processes do the same, so that one of them can be too slow."""


@dataclass(frozen=True)
class Beat:
    """A sign of life."""

    number: int
    stage: str
    since: float  # seconds in this stage, without pauses; 0 while it waits for others
    limit: float | None  # seconds after which it hangs; None: nobody knows
    host: str
    pid: int
    node: str  # the machine among those of the run


@dataclass(frozen=True)
class Verdict:
    """Who ended the run, and how."""

    rank: int
    code: int
    message: str | None  # for one that cannot say it itself
    hang: bool = False  # it does not come on


class Mailbox:
    """The store through which processes tell each other how they are; those of one `start` of the run.

    Whoever starts processes again may keep the store, with all that those before them left there.
    """

    def __init__(self, store: Store, rank: int, size: int, launch: int = 0) -> None:
        self.rank = rank
        self.size = size
        self.launch = launch
        # A connection of its own: what another thread waits for must not keep the beats back.
        own = store.clone()  # type: ignore[attr-defined]  # torch's own types lack it
        self.store = PrefixStore(f"watch/{launch}", own)
        self.store.set_timeout(timedelta(seconds=DEAD_AFTER_S))

    @classmethod
    def of_this_launch(cls, store: Store, rank: int, size: int) -> Self:
        """That of the first start without an end; one in which this process had a forerunner gets one now."""
        for launch in itertools.count():
            mailbox = cls(store, rank, size, launch)
            if mailbox.sign(rank) is not None:
                mailbox.claim(Verdict(rank, 1, None))
            if mailbox.end() is None:
                break
        return mailbox

    def beat(self, sign: Beat) -> None:
        """Leave a sign of life."""
        self.store.set(f"sign/{self.rank}", json.dumps(asdict(sign)))

    def sign(self, rank: int) -> Beat | None:
        """The last sign of life of a process; None: none yet."""
        key = f"sign/{rank}"
        return Beat(**json.loads(self.store.get(key))) if self.store.check([key]) else None

    def claim(self, end: Verdict) -> Verdict:
        """End the run in this way, unless another process was first; returns what holds."""
        said = self.store.compare_set("end", "", json.dumps(asdict(end)))
        return Verdict(**json.loads(said))

    def end(self) -> Verdict | None:
        """How the run was ended; None: it was not."""
        return Verdict(**json.loads(self.store.get("end"))) if self.store.check(["end"]) else None


class Heartbeat:
    """A thread that beats, watches the next process, and ends this one when the run has ended."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.clock = Clock()
        self._stage = "starting"
        self._began = self.clock()
        self._slowest = 0.0
        self._compared = False  # whether an update came to its end, with which the next can be compared
        self._waits = False
        self._depth = 0  # of blocks in which it waits
        self._numbers = 0
        self._lockstep = False  # every step of an update waits for all, so that nobody knows who hangs
        self._stopped = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to beat; the first sign is there at once, so that nobody dies unnoticed before it."""
        self._beat()
        self._thread.start()

    def expect_lockstep(self) -> None:
        """Record that every step of an update waits for all ranks, so that no rank knows which one hangs."""
        self._lockstep = True

    def stop(self) -> None:
        """No more beats: the run has come to its end."""
        self._stopped.set()
        self._thread.join()

    def enter_stage(self, name: str) -> None:
        """This process begins with something."""
        self._segment()
        self._compared = self._compared or self._stage == UPDATE
        self._stage, self._waits = name, False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """In the block this process waits for others."""
        self._depth += 1
        self.share_done()
        try:
            yield
        finally:
            self._depth -= 1
            self._began, self._waits = self.clock(), self._depth > 0

    def share_done(self) -> None:
        """The rest of what this process is at is waiting for others."""
        self._segment()
        self._waits = True

    def _segment(self) -> None:
        """A stretch of work without waiting ends; it shows how long the next one may take."""
        now = self.clock()
        if self._stage == UPDATE and not self._waits:
            self._slowest = max(self._slowest, now - self._began)
        self._began = now

    def failed(self, error: BaseException, *, contact: bool) -> None:
        """This process breaks off: it ends all others, or leaves without a word if it is not to blame.

        Args:
            error: what breaks it off
            contact: it is only that another process no longer answers
        """
        code = _code(error)
        self._failed = True
        with contextlib.suppress(dist.DistError, RuntimeError):
            if contact:  # whoever it is has DEAD_AFTER_S seconds to be found out
                self._outwait(DEAD_AFTER_S + 4 * BEAT_EVERY_S)
            end = self.mailbox.claim(Verdict(self.mailbox.rank, code, None))
            if end.rank != self.mailbox.rank:
                time.sleep(GRACE_S)
                leave(end.code)
        # The error is told by this process, which must not wait for ever in the library's farewell.
        threading.Timer(GRACE_S, leave, (code,)).start()

    def _outwait(self, seconds: float) -> None:
        """Wait that long, or until `stop`; a pause of this process shortens the wait by one beat at most."""
        for _ in range(round(seconds / BEAT_EVERY_S)):
            if self._stopped.wait(BEAT_EVERY_S):
                return

    def _run(self) -> None:
        other = (self.mailbox.rank + 1) % self.mailbox.size
        silence = Silence()
        while not self._stopped.wait(BEAT_EVERY_S):
            try:
                self._beat()
                end = self.mailbox.end()
                if end is None and (sign := self.mailbox.sign(other)) is not None:
                    end = self._judged(other, sign, silence.after(sign.number))
            except dist.DistStoreError:
                continue  # a timeout: the process that holds the store was paused
            except (dist.DistError, RuntimeError):
                if not self._stopped.is_set() and not self._failed:
                    self._leave_lost()
                return
            if end is not None:
                self._leave_with(end)

    def _beat(self) -> None:
        self._numbers += 1
        now = self.clock()  # read it at every beat; a longer gap counts as a pause
        spent = 0.0 if self._waits else now - self._began
        limit = max(HANG_AFTER_S, 10 * self._slowest) if self._stage == UPDATE and self._compared else None
        node = os.environ.get("GROUP_RANK", "0")
        self.mailbox.beat(
            Beat(self._numbers, self._stage, spent, limit, socket.gethostname(), os.getpid(), node)
        )

    def _judged(self, rank: int, sign: Beat, silent: float) -> Verdict | None:
        who = f"process {rank} ({sign.host}, pid {sign.pid})"
        if silent > DEAD_AFTER_S:
            message = (
                f"{who}: no sign of life for {silent:.0f} s, last at: {sign.stage}; it was killed or stopped"
            )
        elif sign.limit is not None and sign.since > sign.limit:
            message = (
                f"{who}: hangs: it has been at its share of an update for {sign.since:.0f} s, and no update "
                f"before took more than {max(sign.limit / 10, 0.1):.1f} s"
            )
            if self._lockstep:
                message += ", or it waits for one of the others; all show where they are"
        else:
            return None
        found = Verdict(rank, 1, message, hang=silent <= DEAD_AFTER_S)
        end = self.mailbox.claim(found)
        if end == found:
            print(message, file=sys.stderr, flush=True)  # noqa: T201  nobody above this thread could
            if sign.node == os.environ.get("GROUP_RANK", "0") and silent > DEAD_AFTER_S:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(sign.pid, signal.SIGKILL)  # one that is stopped cannot leave by itself
        return end

    def _leave_lost(self) -> None:
        """What started the processes is gone, and the store with it: nobody would hear of their end."""
        if os.environ.get("LOCAL_RANK", "0") == "0":
            said = "what started this run (torchrun, or seqx run --devices) is gone; its processes end"
            print(said, file=sys.stderr, flush=True)  # noqa: T201  nobody above this thread could
        leave(1)

    def _leave_with(self, end: Verdict) -> None:
        if end.message is not None and (end.rank == self.mailbox.rank or (end.hang and self._lockstep)):
            with contextlib.suppress(OSError, RuntimeError):  # standard error cannot be written
                faulthandler.dump_traceback(sys.stderr)  # where this process hangs
        if end.rank == self.mailbox.rank and end.message is None:
            return  # it is leaving, and tells why
        if end.message is None:
            time.sleep(GRACE_S)  # so that the other one can tell it before its starter ends everything
        leave(end.code)


def _code(error: BaseException) -> int:
    """The exit code that an error leads to."""
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
    """End this process at once: torch's threads may abort an interpreter that takes its time."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            OSError, UserError, AttributeError
        ):  # the output cannot be written, or is closed
            stream.flush()
    os._exit(code)


def is_lost_contact(error: BaseException) -> bool:
    """Whether it is another process that broke off, by the words of torch's backends."""
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    known: tuple[Any, ...] = (dist.DistError, dist.DistNetworkError)
    return isinstance(error, known) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
