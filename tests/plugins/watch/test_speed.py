"""The line about a slow run, and the reasons that it gives."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

import seqx
from seqx_watch import ConsoleProgress, progress, speed
from seqx_watch.machine_load import Load, Process, reason
from seqx_watch.series import MAX_POINTS, Series, sparkline
from seqx_watch.speed import SpeedWatch
from tests.plugins.watch.simulation import Clock, Simulation, run

OWN, CHILD, OTHER, IDLE = os.getpid(), 1_000_001, 1_000_002, 1_000_003


def load(time: float, seconds: Mapping[int, float], *, throttled: float = 0.0, faults: int = 0) -> Load:
    parents = {CHILD: OWN}
    processes = {
        pid: Process(name=f"p{pid}", parent=parents.get(pid, 1), seconds=used, page_faults=faults)
        for pid, used in seconds.items()
    }
    return Load(time=time, processes=processes, throttled=throttled)


BEFORE = load(0, {OWN: 5, CHILD: 5, OTHER: 5, IDLE: 5})


@pytest.mark.parametrize(
    ("now", "device", "message"),
    [
        (
            load(10, {OWN: 10, CHILD: 5, OTHER: 14, IDLE: 5, 7: 90}),
            "cpu",
            f"other processes use 0.9 of 2 CPUs: p{OTHER} ({OTHER}) 0.9",
        ),
        (
            load(10, {OWN: 15, CHILD: 15, OTHER: 6}),
            "cpu",
            "no cause was found; the clock of the CPUs may be lower",
        ),
        (
            load(10, {OWN: 15, OTHER: 6}, throttled=5),
            "cpu",
            "a CPU limit stopped threads for 0.5 s per second",
        ),
        (
            load(10, {OWN: 15, OTHER: 5}, faults=300),
            "cpu",
            "memory: 30 page faults per second wait for the disk",
        ),
        (load(10, {OWN: 6, OTHER: 5}), "cpu", "the process computed less than half of the time"),
        (
            load(10, {OWN: 6, OTHER: 5}),
            "cuda:0",
            "no cause was found on the CPUs; nvidia-smi shows other processes",
        ),
        (load(10, {}), "cpu", "no cause was found"),
    ],
)
def test_reason_of_a_slow_run_is_found(
    now: Load, device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seqx, "cpus", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert reason(BEFORE, now, device).startswith(message)


def test_reason_of_a_slow_run_names_too_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seqx, "cpus", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    message = "8 threads share 2 CPUs; resume the run with --threads 2"
    assert reason(BEFORE, load(10, {OWN: 15, OTHER: 5}), "cpu") == message


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
def test_load_contains_the_times_of_this_process() -> None:
    own = Load.read().processes[OWN]
    assert own.parent == os.getppid()
    assert own.name
    assert sum(os.times()[:2]) - 1 < own.seconds <= sum(os.times()[:2]) + 0.1


def test_slow_phase_is_reported_once_in_its_second_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = iter([BEFORE, load(10, {OWN: 15, OTHER: 11}), BEFORE, load(10, {OWN: 15})])
    monkeypatch.setattr(Load, "read", lambda: next(loads))
    monkeypatch.setattr(seqx, "cpus", lambda: 1)
    watch = SpeedWatch("cpu")
    assert [watch.add(step, 1000, 10) for step in range(1, 10)] == [None] * 9
    slow = [watch.add(step, 300, 10) for step in range(10, 14)]
    assert slow[0] is slow[2] is slow[3] is None
    assert slow[1] is not None
    assert slow[1].startswith("step 11: slow, 30 target tokens/s instead of 100: other processes use 0.6")
    assert [watch.add(step, tokens, 10) for step, tokens in ((14, 900), (15, 300))] == [None, None]
    assert str(watch.add(16, 300, 10)).startswith("step 16: slow, 30 target")
    assert watch.add(17, 350, 10) is None


def test_run_that_becomes_slow_prints_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pause, such as a validation, is not counted."""
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    monkeypatch.setattr(speed, "reason", lambda *_: "because")
    simulation = Simulation(run(tmp_path), ConsoleProgress(), clock=clock)
    simulation.start()
    simulation.update(1, 100)
    clock.now += 500
    simulation.evaluate(100)
    simulation.update(101, 120)
    for step in range(121, 130):
        clock.now += 9
        simulation.update(step, step)
    lines = [line for line in capsys.readouterr().err.splitlines() if ": slow," in line]
    assert lines == ["step 123: slow, 100 target tokens/s instead of 1,000: because"]
    assert lines[0] in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_series_halves_its_points_and_leaves_out_what_is_not_finite() -> None:
    series = Series()
    for value in range(4 * MAX_POINTS):
        series.add(float(value))
        series.add(float("nan"))
    assert len(series.points) == MAX_POINTS // 2
    assert series.points[:2] == [3.5, 11.5]


def test_sparkline_has_the_lowest_and_the_highest_level() -> None:
    assert sparkline([], 8) == ""
    assert sparkline([2.0, 2.0], 8) == "▁▁"
    assert sparkline([1.0, 2.0, 8.0], 8) == "▁▂█"
    assert sparkline([float(i) for i in range(100)], 8) == "▁▂▃▄▅▆▇█"
