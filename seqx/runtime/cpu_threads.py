"""The number of torch's CPU threads, and the way in which they wait for each other.

With GNU's OpenMP (libgomp, that of torch's Linux packages) a thread that has nothing to do spins for some
milliseconds before it sleeps. This is fastest on an idle machine, and slowest while other processes compete
for the CPUs: a spinning thread takes the CPU from the thread that it waits for. libgomp spins a thousandth of
that time while it manages more threads than there are CPUs. `adapt` uses this: while other processes compete,
it holds a second pool of sleeping threads, and releases it when the machine is idle again. The number of
computing threads stays the same, and so does every bit of the results.
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

PERIOD = 0.5
"""Seconds between two measurements of how long threads wait for a CPU."""

BUSY = 0.12
"""The share of time that a thread waits for a CPU from which on other processes compete for it."""

QUIET = 0.06
"""The share up to which no other process competes; on an idle machine it is 0.01 to 0.04."""

CALM = 3
"""Measurements in a row without competition after which threads spin again."""

CALMEST = 60
"""The largest value of `CALM`, which doubles each time that others compete again soon after."""

MOST = 1024
"""The most threads of a process."""

OWN_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_THREAD_LIMIT", "OMP_DYNAMIC")
"""Environment variables by which users decide themselves how threads wait, or the size of a pool."""


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_AT_FIRST = cpus()  # libgomp counts the CPUs once, when it is loaded


def waits(tasks: Path = Path("/proc/self/task")) -> Mapping[str, float]:
    """Return the seconds for which each thread of this process was ready to run, but had no CPU.

    The result is empty where this is unknown: outside of Linux, and in some sandboxes.
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
    """Return libgomp if torch uses it for its threads, else None."""
    if sys.platform != "linux":
        return None
    try:
        # Names are looked up in torch and its linked libraries, so that this finds torch's own libgomp.
        library = ctypes.CDLL(torch._C.__file__)  # noqa: SLF001  torch has no other way to tell
    except OSError:
        return None
    # The runtimes of LLVM and Intel define libgomp's names, too, but their threads wait differently.
    if hasattr(library, "__kmpc_fork_call") or not hasattr(library, "GOMP_parallel"):
        return None
    return library


class Pool:
    """A pool of sleeping threads of libgomp; while it is held, all other threads spin only briefly.

    It has more threads than there are CPUs. libgomp counts the threads of all pools together.

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
        """True while the pool is held, so that threads spin only briefly."""
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
        """End the pool, together with the thread that started it."""
        if self._holder is not None:
            self._released.set()
            self._holder.join()
            self._holder = None

    def _hold(self, started: threading.Event) -> None:
        nothing = ctypes.cast(self._library.omp_get_num_threads, ctypes.c_void_p)  # a function without effect
        self._library.GOMP_parallel(nothing, None, ctypes.c_uint(self.size), ctypes.c_uint(0))
        started.set()
        self._released.wait()


def _may_start(threads: int) -> bool:
    """Return true if so many threads can be started; libgomp ends the process if it cannot start one."""
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
    """The interface of a pool."""

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
        pool: the pool
        waits: returns how long each thread has waited for a CPU
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
        self._quiet = (
            2 * CALM
        )  # measurements in a row without competition while held; all since it was released

    def watch(self) -> None:
        """Measure once a period, until the process ends."""
        while True:
            time.sleep(PERIOD)
            self.look()

    def look(self) -> None:
        """Compare with the last measurement, and hold or release the pool."""
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
    """Set the number of threads that a run began with, because the bits of its results depend on it.

    Args:
        began_with: the number at the run's earlier starts; None: it is the first start, or not recorded
        wanted: the number that the user gives, which takes precedence; None: not given
        tell: gets a message if the number changes for this run or this process
    """
    here = torch.get_num_threads()
    number = wanted or began_with or here
    torch.set_num_threads(number)  # even without a change: MKL then uses exactly this number
    if began_with is None or number == here == began_with:
        return
    if number != began_with:
        tell(
            f"this run computed with {_counted(began_with)} before and goes on with {number} (--threads); "
            f"the last bits of its results differ from those with {began_with}"
        )
    elif wanted is None:
        why = "OMP_NUM_THREADS" if os.environ.get("OMP_NUM_THREADS") else f"{_counted(cpus(), 'CPU')} here"
        tell(
            f"this run goes on with {_counted(number)}, as it began, and not with {here} ({why}), because "
            f"that would change the last bits of its results; to use {here}, give --threads {here}"
        )


def _counted(number: int, what: str = "thread") -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def adapt() -> None:
    """Let waiting threads of this process sleep while other processes compete for the CPUs, else spin.

    This does nothing with a single thread, if the user set one of `OWN_SETTINGS`, if torch does not use
    libgomp, or if the system does not report how long threads wait.
    """
    global _watcher  # noqa: PLW0603  one for each process
    if _watcher is not None or torch.get_num_threads() == 1 or any(map(os.environ.get, OWN_SETTINGS)):
        return
    library = libgomp()
    if library is None or not waits():
        return
    _watcher = Watcher(Pool(library))
    threading.Thread(target=_watcher.watch, name="seqx-threads", daemon=True).start()


def _forget() -> None:
    """Forget the watcher in a forked child, which has neither its thread nor the pool's."""
    global _watcher  # noqa: PLW0603
    _watcher = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
