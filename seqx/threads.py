"""The threads that torch computes with on a CPU: how many, and how they wait for each other.

With GNU's OpenMP (libgomp, that of torch's Linux packages) a thread that has nothing to do spins for some
milliseconds before it sleeps. That is fastest on a quiet machine. Next to other processes it is slowest: a
thread that spins takes the CPU from the one that it waits for. libgomp spins a thousand times shorter while
it manages more threads than there are CPUs. `adapt` makes use of that: another pool of threads that sleep,
held while others compete and released when it is quiet, switches between both at run time. The number of
threads that compute stays the same, and so does every bit of the results.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import torch

PERIOD = 1.0
"""Seconds between two looks at how long threads wait for a CPU."""

BUSY = 0.12
"""The share of its time for which a thread waits for a CPU when other processes compete for it."""

QUIET = 0.06
"""The share up to which no other process competes; on a quiet machine it is 0.01 to 0.04."""

CALM = 3
"""Quiet looks in a row after which threads spin again."""

CALMEST = 60
"""The most quiet looks that are waited for: they double whenever others competed again soon after."""

MOST = 1024
"""Threads that a process may compute with."""

OWN_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_THREAD_LIMIT", "OMP_DYNAMIC")
"""Variables of users who decide themselves how threads wait, or how many a pool may have."""


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_AT_FIRST = cpus()  # libgomp counts them once, when it is loaded


def waits(tasks: Path = Path("/proc/self/task")) -> Mapping[str, float]:
    """Return how many seconds each thread of this process was ready to run and had no CPU.

    Empty where the system does not tell: on other systems than Linux, and in some sandboxes.
    """
    found = {}
    try:
        for task in tasks.iterdir():
            try:
                nanoseconds = (task / "schedstat").read_text(encoding="ascii").split()[1]
            except (FileNotFoundError, ProcessLookupError):
                continue  # the thread has ended
            found[task.name] = int(nanoseconds) / 1e9
    except (OSError, ValueError, LookupError):
        return {}
    return found


def libgomp() -> ctypes.CDLL | None:
    """Return what torch calls for its threads, if that is libgomp; None: another runtime, or none."""
    if sys.platform != "linux":
        return None
    try:
        # A name is looked up in torch and in all that it is linked with, so that it is torch's own libgomp.
        library = ctypes.CDLL(torch._C.__file__)  # noqa: SLF001  torch has no other way to tell
    except OSError:
        return None
    # The runtimes of LLVM and Intel have libgomp's names, too, but wait in another way.
    if hasattr(library, "__kmpc_fork_call") or not hasattr(library, "GOMP_parallel"):
        return None
    return library


class Pool:
    """Threads of libgomp that sleep; while they are held, all others of the process spin for a moment only.

    It has more threads than there are CPUs, whatever other pools there are: libgomp adds them up.

    Args:
        library: libgomp
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.size = max(_AT_FIRST, library.omp_get_num_procs()) + 1
        self._library = library
        self._holder: threading.Thread | None = None
        self._released = threading.Event()

    @property
    def held(self) -> bool:
        """True while threads of this process spin for a moment only."""
        return self._holder is not None

    def hold(self) -> None:
        """Start the pool, unless the system allows no more threads."""
        if not _may_start(self.size):
            return
        started = threading.Event()
        self._released.clear()
        self._holder = threading.Thread(target=self._hold, args=(started,), name="seqx-pool", daemon=True)
        self._holder.start()
        started.wait()

    def release(self) -> None:
        """End the pool: it goes with the thread that started it."""
        if self._holder is not None:
            self._released.set()
            self._holder.join()
            self._holder = None

    def _hold(self, started: threading.Event) -> None:
        nothing = ctypes.cast(self._library.omp_get_num_threads, ctypes.c_void_p)  # changes nothing
        self._library.GOMP_parallel(nothing, None, ctypes.c_uint(self.size), ctypes.c_uint(0))
        started.set()
        self._released.wait()


def _may_start(threads: int) -> bool:
    """Try whether so many threads can be started: libgomp ends the process if it cannot start one."""
    done = threading.Event()
    started = []
    try:
        for _ in range(threads):
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        done.set()
        for thread in started:
            thread.join()
    return True


class Switch(Protocol):
    """What can be held and released."""

    @property
    def held(self) -> bool:
        """True while it is held."""

    def hold(self) -> None:
        """Hold it, if that is possible."""

    def release(self) -> None:
        """Release it."""


class Watcher:
    """Holds a pool while other processes compete for the CPUs, and releases it when they no longer do.

    Args:
        pool: what is held
        waits: tells how long each thread has waited for a CPU
        now: monotonic seconds
    """

    def __init__(
        self,
        pool: Switch,
        waits: Callable[[], Mapping[str, float]] = waits,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pool = pool
        self._waits = waits
        self._now = now
        self._before, self._at = waits(), now()
        self._calm = CALM
        self._quiet = 2 * CALM  # looks in a row while it is held, or looks since it was released

    def watch(self) -> None:
        """Look once a period, for as long as the process lives."""
        while True:
            time.sleep(PERIOD)
            self.look()

    def look(self) -> None:
        """Compare with the last look, and hold or release the pool."""
        waits, at = self._waits(), self._now()
        more = (seconds - self._before.get(thread, seconds) for thread, seconds in waits.items())
        share = max(more, default=0.0) / max(at - self._at, PERIOD / 10)
        self._before, self._at = waits, at
        if self.pool.held:
            self._quiet = self._quiet + 1 if share <= QUIET else 0
            if self._quiet >= self._calm:
                self.pool.release()
                self._quiet = 0
        elif share >= BUSY:
            self._calm = min(2 * self._calm, CALMEST) if self._released_lately() else CALM
            self._quiet = 0
            self.pool.hold()
        else:
            self._quiet += 1

    def _released_lately(self) -> bool:
        return self._quiet < 2 * self._calm


_watcher: Watcher | None = None


def keep(began_with: int | None, wanted: int | None, tell: Callable[[str], None]) -> None:
    """Compute with as many threads as a run began with, because every bit of its results depends on them.

    Args:
        began_with: threads of the run's earlier starts; None: this is the first one, or the run does not say
        wanted: what the user asks for, also against that; None: nothing
        tell: told in one message if the number is another one than this process came with
    """
    here = torch.get_num_threads()
    number = wanted or began_with or here
    torch.set_num_threads(number)  # also where that is no change: it has MKL take exactly so many
    if began_with is None or number == here == began_with:
        return
    if number != began_with:
        tell(
            f"this run computed with {_counted(began_with)} before and goes on with {number} (--threads): it "
            "does not end bit by bit as it would have"
        )
    elif wanted is None:
        why = "OMP_NUM_THREADS" if os.environ.get("OMP_NUM_THREADS") else f"{_counted(cpus(), 'CPU')} here"
        tell(
            f"this run goes on with {_counted(number)}, as it began, and not with {here} ({why}), because "
            f"another number changes its last bits; to allow that, write --threads {here}"
        )


def _counted(number: int, what: str = "thread") -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def adapt() -> None:
    """From now on let threads of this process sleep while others compete for the CPUs, and else spin.

    Does nothing where a single thread computes, where the user set one of `OWN_SETTINGS`, or where torch uses
    another OpenMP than libgomp, or the system does not tell how long threads wait.
    """
    global _watcher  # noqa: PLW0603  a process has one
    if _watcher is not None or torch.get_num_threads() == 1 or any(map(os.environ.get, OWN_SETTINGS)):
        return
    library = libgomp()
    if library is None or not waits():
        return
    _watcher = Watcher(Pool(library))
    threading.Thread(target=_watcher.watch, name="seqx-threads", daemon=True).start()


def _forget() -> None:
    """A child that was forked has neither the watcher's thread nor the pool's."""
    global _watcher  # noqa: PLW0603
    _watcher = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
