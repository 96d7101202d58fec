"""Set the number of torch's CPU threads, and decide how idle threads wait: spinning or sleeping.

With GNU's OpenMP (libgomp, which torch's Linux packages use) an idle thread spins for some milliseconds
before it sleeps. This is fast on an idle machine, and slow while other processes compete for CPUs, because a
spinning thread takes the CPU from the thread that it waits for. If libgomp manages more threads than there
are CPUs, threads spin for a thousandth of this time. `adapt_to_contention` uses this: while other processes
compete, it holds a second pool of sleeping threads, and releases it when the machine is idle again. The
number of computing threads stays the same, and so does every bit of the results.
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

CONTENDED_SHARE = 0.12
"""The threshold for competition: a thread waits for a CPU for at least this fraction of a period."""

IDLE_SHARE = 0.06
"""The threshold for an idle machine: no thread waits for more than this fraction; usually 0.01 to 0.04."""

IDLE_PERIODS = 3
"""Number of consecutive idle periods after which threads spin again."""

MAX_IDLE_PERIODS = 60
"""Maximum of the required idle periods. Their number doubles if other processes compete again soon."""

MAX_THREADS = 1024
"""Maximum number of threads of a process."""

USER_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_THREAD_LIMIT", "OMP_DYNAMIC")
"""Environment variables by which users decide how threads wait, or how many threads a pool has."""


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_INITIAL_CPUS = cpus()  # libgomp counts the CPUs once, when it is loaded


def wait_seconds(tasks: Path = Path("/proc/self/task")) -> Mapping[str, float]:
    """Return the seconds for which each thread of this process was ready to run, but had no CPU.

    The result is empty if the system does not report these times: outside of Linux, and in some sandboxes.
    """
    seconds = {}
    try:
        for task in tasks.iterdir():
            try:
                nanoseconds = (task / "schedstat").read_text(encoding="ascii").split()[1]
            except (FileNotFoundError, ProcessLookupError):
                continue  # the thread has ended
            seconds[task.name] = int(nanoseconds) / 1e9
    except (OSError, ValueError, LookupError):
        return {}
    return seconds


def libgomp() -> ctypes.CDLL | None:
    """Return libgomp if torch uses it for its threads, else None."""
    if sys.platform != "linux":
        return None
    try:
        # This searches torch and the libraries that it is linked to, and therefore finds torch's own libgomp.
        library = ctypes.CDLL(torch._C.__file__)  # noqa: SLF001  torch has no public name for it
    except OSError:
        return None
    # The runtimes of LLVM and Intel define libgomp's names, too, but their threads wait differently.
    if hasattr(library, "__kmpc_fork_call") or not hasattr(library, "GOMP_parallel"):
        return None
    return library


class Pool:
    """A pool of sleeping threads of libgomp; while it is held, all other threads spin only briefly.

    It has more threads than there are CPUs, and libgomp counts the threads of all pools together.

    Args:
        library: libgomp
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.size = max(_INITIAL_CPUS, library.omp_get_num_procs()) + 1
        self._library = library
        self._holder: threading.Thread | None = None
        self._released = threading.Event()

    @property
    def is_held(self) -> bool:
        """True if the pool is held, so that threads spin only briefly."""
        return self._holder is not None

    def hold(self) -> None:
        """Start the threads of the pool, unless the system allows no more threads."""
        if not _may_start(self.size):
            return
        started = threading.Event()
        self._released.clear()
        self._holder = threading.Thread(target=self._hold, args=(started,), name="seqx-pool", daemon=True)
        self._holder.start()
        started.wait()

    def release(self) -> None:
        """End the threads of the pool, and the thread that started them."""
        if self._holder is not None:
            self._released.set()
            self._holder.join()
            self._holder = None

    def _hold(self, started: threading.Event) -> None:
        no_op = ctypes.cast(self._library.omp_get_num_threads, ctypes.c_void_p)
        self._library.GOMP_parallel(no_op, None, ctypes.c_uint(self.size), ctypes.c_uint(0))
        started.set()
        self._released.wait()


def _may_start(threads: int) -> bool:
    """Return true if this number of threads can be started; libgomp exits if it cannot start one."""
    stop = threading.Event()
    started = []
    try:
        for _ in range(threads):
            thread = threading.Thread(target=stop.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        stop.set()
        for thread in started:
            thread.join()
    return True


class HoldablePool(Protocol):
    """The part of `Pool` that `Watcher` uses."""

    @property
    def is_held(self) -> bool:
        """True if the pool is held."""

    def hold(self) -> None:
        """Hold the pool, if possible."""

    def release(self) -> None:
        """Release the pool."""


class Watcher:
    """A watcher that holds a pool while other processes compete for the CPUs, and then releases it.

    Args:
        pool: the pool
        wait_seconds: returns the seconds that each thread has waited for a CPU
        now: returns monotonic seconds
    """

    def __init__(
        self,
        pool: HoldablePool,
        wait_seconds: Callable[[], Mapping[str, float]] = wait_seconds,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pool = pool
        self._wait_seconds = wait_seconds
        self._now = now
        self._last_waits, self._last_time = wait_seconds(), now()
        self._required_idle = IDLE_PERIODS
        # While the pool is held: consecutive periods without competition; else: periods since its release.
        self._periods = 2 * IDLE_PERIODS

    def run(self) -> None:
        """Measure once per period, until the process ends."""
        while True:
            time.sleep(PERIOD)
            self.measure()

    def measure(self) -> None:
        """Compare with the last measurement, and hold or release the pool."""
        waits, time_ = self._wait_seconds(), self._now()
        waited = (seconds - self._last_waits.get(thread, seconds) for thread, seconds in waits.items())
        share = max(waited, default=0.0) / max(time_ - self._last_time, PERIOD / 10)
        self._last_waits, self._last_time = waits, time_
        if self.pool.is_held:
            self._periods = self._periods + 1 if share <= IDLE_SHARE else 0
            if self._periods >= self._required_idle:
                self.pool.release()
                self._periods = 0
        elif share >= CONTENDED_SHARE:
            doubled = min(2 * self._required_idle, MAX_IDLE_PERIODS)
            self._required_idle = doubled if self._was_released_recently() else IDLE_PERIODS
            self._periods = 0
            self.pool.hold()
        else:
            self._periods += 1

    def _was_released_recently(self) -> bool:
        return self._periods < 2 * self._required_idle


_watcher: Watcher | None = None


def keep_thread_count(recorded: int | None, requested: int | None, warn: Callable[[str], None]) -> None:
    """Set torch's number of threads to that with which the run began: the last bits of results depend on it.

    Args:
        recorded: the number with which the run began; None: the run begins now, or did not record it
        requested: the value of the option --threads, which takes precedence; None: the option is not set
        warn: called with a message if the number differs from `recorded` or from this process's default
    """
    default = torch.get_num_threads()
    number = requested or recorded or default
    torch.set_num_threads(number)  # even without a change: MKL then uses exactly this number
    if recorded is None or number == default == recorded:
        return
    if number != recorded:
        warn(
            f"this run computed with {_quantity(recorded)} before and continues with {number} (--threads); "
            f"the last bits of its results differ from those with {recorded}"
        )
    elif requested is None:
        reason = (
            "OMP_NUM_THREADS" if os.environ.get("OMP_NUM_THREADS") else f"{_quantity(cpus(), 'CPU')} here"
        )
        warn(
            f"this run continues with {_quantity(number)}, as it began, and not with {default} ({reason}), "
            "because that would change the last bits of its results; to use "
            f"{default}, set --threads {default} (in Python: threads={default})"
        )


def _quantity(number: int, noun: str = "thread") -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def adapt_to_contention() -> None:
    """Let idle threads of this process sleep while other processes compete for the CPUs, else spin.

    Do nothing if there is only one thread, if the user set one of `USER_SETTINGS`, if torch does not use
    libgomp, or if the system does not report how long threads wait.
    """
    global _watcher  # noqa: PLW0603  one for each process
    if _watcher is not None or torch.get_num_threads() == 1 or any(map(os.environ.get, USER_SETTINGS)):
        return
    library = libgomp()
    if library is None or not wait_seconds():
        return
    _watcher = Watcher(Pool(library))
    threading.Thread(target=_watcher.run, name="seqx-threads", daemon=True).start()


def _remove_watcher() -> None:
    """Remove the watcher of a forked child, which has neither its thread nor the pool's."""
    global _watcher  # noqa: PLW0603
    _watcher = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_remove_watcher)
