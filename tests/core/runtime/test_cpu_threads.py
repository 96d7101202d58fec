"""Idle threads sleep while other processes compete for CPUs; a resumed run keeps its number of threads."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from seqx.runtime import cpu_threads
from seqx.runtime.cpu_threads import (
    IDLE_PERIODS,
    MAX_IDLE_PERIODS,
    Pool,
    Watcher,
    keep_thread_count,
    libgomp,
    wait_seconds,
)

LIBGOMP = libgomp()
needs_libgomp = pytest.mark.skipif(
    LIBGOMP is None or not wait_seconds(), reason="another OpenMP, or no /proc"
)


class SimulatedPool:
    """A pool, a clock, and the waiting times of threads, all simulated."""

    def __init__(self) -> None:
        self.is_held = False
        self.time = 0.0
        self.threads = {"1": 5.0, "2": 50.0}

    def hold(self) -> None:
        self.is_held = True

    def release(self) -> None:
        self.is_held = False

    def now(self) -> float:
        return self.time

    def wait_seconds(self) -> Mapping[str, float]:
        return dict(self.threads)


@pytest.fixture
def pool() -> SimulatedPool:
    return SimulatedPool()


@pytest.fixture
def watcher(pool: SimulatedPool) -> Watcher:
    return Watcher(pool, pool.wait_seconds, pool.now)


def held_after(pool: SimulatedPool, watcher: Watcher, shares: list[float]) -> list[bool]:
    """Measure once for each share of time that a thread waited; return whether the pool was held after it."""
    held = []
    for share in shares:
        pool.time += 1
        pool.threads["2"] += share
        watcher.measure()
        held.append(pool.is_held)
    return held


def test_pool_is_held_only_while_other_processes_compete(pool: SimulatedPool, watcher: Watcher) -> None:
    assert held_after(pool, watcher, [0.03, 0.1, 0.5, 0.3, 0.1, 0.05, 0.1]) == [False, False, *[True] * 5]
    assert held_after(pool, watcher, [0.01] * IDLE_PERIODS) == [*[True] * (IDLE_PERIODS - 1), False]


def test_repeated_competition_doubles_the_idle_periods_before_release(
    pool: SimulatedPool, watcher: Watcher
) -> None:
    held_after(pool, watcher, [0.0] * 10)
    lengths = []
    for _ in range(7):
        assert held_after(pool, watcher, [0.4]) == [True]
        lengths.append(held_after(pool, watcher, [0.0] * 2 * MAX_IDLE_PERIODS).index(False) + 1)
        pool.release()
        watcher._periods = 0
    assert lengths == [min(MAX_IDLE_PERIODS, IDLE_PERIODS * 2**times) for times in range(7)]
    held_after(pool, watcher, [0.0] * (2 * MAX_IDLE_PERIODS + 1))
    assert held_after(pool, watcher, [0.4, *[0.0] * IDLE_PERIODS])[-2:] == [True, False]


def test_threads_that_begin_or_end_are_ignored(pool: SimulatedPool, watcher: Watcher) -> None:
    pool.threads["3"] = 70.0
    assert held_after(pool, watcher, [0.0]) == [False]
    del pool.threads["3"]
    assert held_after(pool, watcher, [0.0]) == [False]


def test_wait_seconds_are_empty_where_the_system_does_not_report_them(tmp_path: Path) -> None:
    assert wait_seconds(tmp_path / "none") == {}
    (tmp_path / "7").mkdir()
    assert wait_seconds(tmp_path) == {}
    (tmp_path / "7" / "schedstat").write_text("5 250000000 3\n", encoding="utf-8")
    assert wait_seconds(tmp_path) == {"7": 0.25}
    (tmp_path / "7" / "schedstat").write_text("not kept\n", encoding="utf-8")
    assert wait_seconds(tmp_path) == {}


@needs_libgomp
def test_pool_is_held_and_released() -> None:
    """Threads of other tests may begin or end meanwhile; those of libgomp take a moment to end."""
    assert LIBGOMP is not None
    pool = Pool(LIBGOMP)
    for _ in range(3):
        before = threads()
        pool.hold()
        assert pool.is_held
        started = threads() - before
        assert len(started) >= pool.size
        pool.release()
        assert not pool.is_held
        assert any(len(started - threads()) >= pool.size for _ in _polls())


def threads() -> set[str]:
    """Return the ids of the threads of this process, including those of libgomp."""
    return {task.name for task in Path("/proc/self/task").iterdir()}


def _polls() -> Iterator[None]:
    for _ in range(200):
        yield
        time.sleep(0.01)


@needs_libgomp
def test_pool_is_not_held_if_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIBGOMP is not None
    pool = Pool(LIBGOMP)

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    pool.hold()
    assert not pool.is_held


SPINNING_SCRIPT = """
import resource, sys, time, torch
from seqx.runtime import cpu_threads
torch.set_num_threads(2)
some = torch.ones(1 << 17)
def idle_seconds():  # CPU time of the pauses after each operation
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(100):
        some.add_(1.0)
        time.sleep(0.002)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime
pool = cpu_threads.Pool(cpu_threads.libgomp())
idle_seconds()
first = idle_seconds(); pool.hold(); second = idle_seconds(); pool.release(); third = idle_seconds()
print(second < first / 2 and second < third / 2, first, second, third)
"""


@pytest.mark.slow
@needs_libgomp
def test_threads_stop_spinning_while_the_pool_is_held() -> None:
    """Measure the effect on libgomp by CPU time."""
    environment = {key: value for key, value in os.environ.items() if key not in cpu_threads.USER_SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", SPINNING_SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("True"), done.stdout


@pytest.fixture
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in cpu_threads.USER_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("seqx.runtime.cpu_threads._watcher", None)
    monkeypatch.setattr("threading.Thread.start", lambda _: None)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@needs_libgomp
@pytest.mark.usefixtures("_two_threads")
def test_settings_of_users_disable_the_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cpu_threads.USER_SETTINGS:
        monkeypatch.setenv(name, "1")
        cpu_threads.adapt_to_contention()
        assert cpu_threads._watcher is None
        monkeypatch.delenv(name)
    torch.set_num_threads(1)
    cpu_threads.adapt_to_contention()
    assert cpu_threads._watcher is None
    torch.set_num_threads(2)
    cpu_threads.adapt_to_contention()
    assert cpu_threads._watcher is not None


KEPT_MESSAGE = (
    "this run continues with 3 threads, as it began, and not with 2 (OMP_NUM_THREADS), because that would "
    "change the last bits of its results; to use 2, set --threads 2 (in Python: threads=2)"
)
CHANGED_MESSAGE = (
    "this run computed with 1 thread before and continues with 2 (--threads); the last bits of its results "
    "differ from those with 1"
)


@pytest.mark.parametrize(
    ("recorded", "requested", "number", "message"),
    [
        (None, None, 2, None),
        (None, 3, 3, None),
        (2, None, 2, None),
        (3, 3, 3, None),
        (3, None, 3, KEPT_MESSAGE),
        (1, 2, 2, CHANGED_MESSAGE),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_two_threads")
def test_resumed_run_keeps_its_number_of_threads(
    recorded: int | None,
    requested: int | None,
    number: int,
    message: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    warnings: list[str] = []
    keep_thread_count(recorded, requested, warnings.append)
    assert torch.get_num_threads() == number
    assert warnings == ([] if message is None else [message])
