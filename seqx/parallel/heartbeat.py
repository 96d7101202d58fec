"""Heartbeats: each rank shows that it is alive, and checks the next rank.

A rank that waits for a dead rank in a collective call cannot be interrupted. So a thread in each process ends
the process once any rank has failed. Only the first rank that notices the failure prints a message.
"""

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import click
import torch.distributed as dist

from seqx.errors import UserError, user_can_fix
from seqx.parallel.clock import Clock, Silence
from seqx.parallel.mailbox import DEAD_AFTER_S, Beat, Mailbox, Verdict
from seqx.runtime.signals import Stopped

BEAT_EVERY_S = 1.0
"""Seconds between two heartbeats."""

HANG_AFTER_S = 15.0
"""Seconds after which a rank may count as hanging in an update. If ten times the slowest update so far is
more, that is the limit."""

GRACE_S = 4.0
"""Seconds that a process has to exit by itself after any rank has failed."""

REPORT_S = 15.0
"""Seconds that rank 0 then has to report the end of the run to callbacks and plugins, unless they hang."""

UPDATE = "update"
"""The stage in which all ranks do the same work, so that their times can be compared."""

BETWEEN_UPDATES = "between updates"
"""The stage after an update, in which rank 0 may have more work, such as that of callbacks."""


class Heartbeat:
    """A thread that sends heartbeats, checks the next rank, and ends this process once there is a verdict.

    Args:
        mailbox: the connection of this rank to the other ranks
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.clock = Clock()
        self._stage = "starting"
        self._began = self.clock()
        self._slowest = 0.0
        self._has_slowest = False  # true once an update has ended, so that the next ones have a limit
        self._waits = False
        self._depth = 0  # the number of nested blocks in which this rank waits
        self._num_beats = 0
        self._lockstep = False  # see expect_lockstep
        self._stopped = threading.Event()
        self._failed = False
        self._reports_end = False  # see `record_end`
        self._signalled = False  # a signal has stopped this rank
        self._lost_contact = False
        self._reporting = False  # true once the thread reports the end, and then ends this process
        self._end_lock = threading.Lock()  # of `_reports_end` and `_reporting`: only one of them becomes true
        self._report_end: list[Callable[[BaseException], None]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Send the first heartbeat, so that a death right after it is noticed; start the thread."""
        self._beat()
        self._thread.start()

    def expect_lockstep(self) -> None:
        """Record that each rank waits for all others in every pass; a slow one may wait for a hanging one."""
        self._lockstep = True

    def stop(self) -> None:
        """Stop the thread, at the end of the run."""
        self._stopped.set()
        self._thread.join()

    def enter_stage(self, name: str) -> None:
        """Record the stage that this rank begins."""
        self._end_period()
        self._has_slowest = self._has_slowest or self._stage == UPDATE
        self._stage, self._waits = name, False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Record that this rank waits for other ranks in the block."""
        self._depth += 1
        self.part_done()
        try:
            yield
        finally:
            self._depth -= 1
            self._began, self._waits = self.clock(), self._depth > 0

    def part_done(self) -> None:
        """Record that this rank has done its part of the stage, and only waits for other ranks."""
        self._end_period()
        self._waits = True

    def _end_period(self) -> None:
        """End a period of work. The longest one in an update determines the limit for later ones."""
        now = self.clock()
        if self._stage == UPDATE and not self._waits:
            self._slowest = max(self._slowest, now - self._began)
        self._began = now

    def report_end_to(self, report: Callable[[BaseException], None]) -> None:
        """Add a function to call with the reason before another rank, or the launcher, ends this process.

        The functions are called in the order in which they were added.
        """
        self._report_end.append(report)

    def record_end(self, error: BaseException) -> None:
        """Record that this rank reports its end with an error itself, so that the thread does not.

        If the thread is already reporting, this call does not return, because the thread then ends this
        process. Rank 0 has more to report than others. After a signal all ranks end by themselves, however
        long that takes; after another error of another rank they have `REPORT_S`.
        """
        with self._end_lock:
            self._reports_end = not self._reporting
        if self._reporting:
            self._stopped.wait()
        self._signalled = isinstance(error, Stopped)

    def end_all_ranks(self, error: BaseException, *, lost_contact: bool) -> None:
        """End all ranks after an error of this rank; if another rank has failed first, exit silently.

        Args:
            error: the error of this rank
            lost_contact: true if the error only says that another rank does not answer
        """
        code = _exit_code(error)
        self._failed = True
        with contextlib.suppress(dist.DistError, RuntimeError):
            if lost_contact:
                self.await_verdict()
            verdict = self.mailbox.claim(Verdict(self.mailbox.rank, code, None))
            if verdict.rank != self.mailbox.rank and not self._ends_like(verdict):
                time.sleep(GRACE_S)
                leave(verdict.code)
        # This process prints its error. Torch's clean-up at exit could wait for ever.
        threading.Timer(GRACE_S, leave, (code,)).start()

    def await_verdict(self) -> None:
        """Wait, after this rank has lost contact, until a rank finds out which rank is dead.

        Then the thread ends this process. If none finds out, this call returns, and does not wait again.
        """
        if self._lost_contact:
            return
        self._lost_contact = True
        for _ in range(round(DEAD_AFTER_S / BEAT_EVERY_S) + 4):  # a pause shortens this by at most one beat
            if self._stopped.wait(BEAT_EVERY_S):
                return
        if self._reporting:
            self._stopped.wait()

    def _run(self) -> None:
        next_rank = (self.mailbox.rank + 1) % self.mailbox.size
        silence = Silence()
        while not self._stopped.wait(BEAT_EVERY_S):
            try:
                self._beat()
                verdict = self.mailbox.verdict()
                if verdict is None and (beat := self.mailbox.beat(next_rank)) is not None:
                    verdict = self._check(next_rank, beat, silence.seconds(beat.number))
            except dist.DistStoreError:
                continue  # the process with the store was paused
            except (dist.DistError, RuntimeError):
                if not self._stopped.is_set() and not self._failed:
                    self._leave_without_launcher()
                return
            if verdict is not None:
                self._leave_with(verdict)

    def _beat(self) -> None:
        self._num_beats += 1
        now = self.clock()  # read at every heartbeat, because a longer gap counts as a pause
        work_seconds = 0.0 if self._waits else now - self._began
        limit = max(HANG_AFTER_S, 10 * self._slowest) if self._stage == UPDATE and self._has_slowest else None
        node = os.environ.get("GROUP_RANK", "0")
        self.mailbox.send(
            Beat(self._num_beats, self._stage, work_seconds, limit, socket.gethostname(), os.getpid(), node)
        )

    def _check(self, rank: int, beat: Beat, silent: float) -> Verdict | None:
        """Return the verdict of the run if a rank is dead or hangs, and print a message about it.

        Args:
            rank: the rank to check
            beat: its last heartbeat
            silent: seconds since that heartbeat
        """
        is_dead = silent > DEAD_AFTER_S
        if not is_dead and (beat.limit is None or beat.work_seconds <= beat.limit):
            return None
        text = f"rank {rank} ({beat.host}, pid {beat.pid}) "
        text += _death_message(beat, silent) if is_dead else _hang_message(beat, lockstep=self._lockstep)
        own = Verdict(rank, 1, text, hang=not is_dead)
        verdict = self.mailbox.claim(own)
        if verdict == own:
            print(text, file=sys.stderr, flush=True)  # noqa: T201  this thread has no caller
            if is_dead and beat.node == os.environ.get("GROUP_RANK", "0"):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(beat.pid, signal.SIGKILL)  # a stopped process cannot exit by itself
        return verdict

    def _leave_without_launcher(self) -> None:
        """Exit because the launcher, which holds the store, has ended."""
        message = (
            "torchrun or seqx run --devices, which started this run, has ended, so all ranks end; run "
            "the same command again to resume"
        )
        self._report(message)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(message, file=sys.stderr, flush=True)  # noqa: T201  this thread has no caller
        leave(1)

    def _leave_with(self, verdict: Verdict) -> None:
        """Exit with the code of the verdict; if this rank may hang, print its traceback first."""
        if verdict.message is not None and (
            verdict.rank == self.mailbox.rank or (verdict.hang and self._lockstep)
        ):
            with contextlib.suppress(OSError, RuntimeError):  # if standard error cannot be written
                faulthandler.dump_traceback(sys.stderr)
        if (verdict.rank == self.mailbox.rank and verdict.message is None) or self._ends_like(verdict):
            return  # this process is exiting, and prints why
        if verdict.message is None:
            time.sleep(GRACE_S)  # let the failed rank print its error before the launcher ends it
        if verdict.message is not None or self._lost_contact or not self._failed:
            self._report(verdict.message or f"rank {verdict.rank} failed, and printed why")
        leave(verdict.code)

    def _ends_like(self, verdict: Verdict) -> bool:
        """Return true if a signal has stopped both this rank and the rank of the verdict."""
        return self._signalled and verdict.message is None and verdict.code == os.EX_TEMPFAIL

    def _report(self, message: str) -> None:
        """Report the end, or let the main thread do so; stop waiting after a time, as both may block."""
        with self._end_lock:
            self._reporting = not self._reports_end
        if self._reports_end:
            time.sleep(REPORT_S)  # the main thread then ends this process
            return

        def report() -> None:
            for function in self._report_end:
                function(UserError(message))

        reporting = threading.Thread(target=report, daemon=True)
        reporting.start()
        reporting.join(REPORT_S)


def _death_message(beat: Beat, silent: float) -> str:
    return (
        f"sent no heartbeat for {silent:.0f} s (last stage: {beat.stage}), so it was killed or stopped; "
        "check its machine, and run the same command again to resume"
    )


def _hang_message(beat: Beat, *, lockstep: bool) -> str:
    slowest = max((beat.limit or 0.0) / 10, 0.1)
    cause = "it or a rank that it waits for" if lockstep else "it"
    shown = "the tracebacks of all ranks show" if lockstep else "its traceback shows"
    return (
        f"has computed its part of an update for {beat.work_seconds:.0f} s, but no earlier update took more "
        f"than {slowest:.1f} s: {cause} hangs; {shown} where. Run the same command again to resume"
    )


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
        # The stream may be closed or not writable.
        with contextlib.suppress(OSError, UserError, AttributeError):
            stream.flush()
    os._exit(code)


def is_lost_contact(error: BaseException) -> bool:
    """Return true if the type or the message of an error of torch says that a rank does not answer."""
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    known: tuple[Any, ...] = (dist.DistError, dist.DistNetworkError)
    return isinstance(error, known) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
