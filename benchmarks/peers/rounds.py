"""Alternating measurements: in each round every contestant is measured once, in rotated order."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from benchmarks.provenance import ROOT

EQUAL_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""The settings of glibc's allocator that seqx makes itself (`seqx.runtime.allocator`)."""

Request = Mapping[str, Any]
Reply = Mapping[str, Any]


class FailedRequest(Exception):  # noqa: N818  a reason, not an error of this program
    """The reason why a contestant could not be measured."""


@dataclass
class Contestant:
    """A worker process of one toolkit with one configuration; it is started when it is first measured.

    Args:
        name: the name in the record
        python: the interpreter of the toolkit's environment
        adapter: the full name of its adapter
        prepare: the request that prepares the measurement
        warm: the request after it, which is not recorded
        environment: additional environment variables
    """

    name: str
    python: Path
    adapter: str
    prepare: Request
    warm: Request
    environment: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    peak_mb: int = 0
    _process: subprocess.Popen[str] | None = None

    def ask(self, request: Request) -> Reply:
        """Return the reply to a request; start the process first if necessary.

        Raises:
            FailedRequest: the request failed, or the process ended
        """
        if self._process is None:
            self._process = self._start()
            self._exchange(self.prepare)
            self._exchange(self.warm)
        return self._exchange(request)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        command = [str(self.python), "-m", "benchmarks.peers.worker", self.adapter]
        environment = {**os.environ, **self.environment}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stderr=subprocess.DEVNULL, **pipes
        )

    def _exchange(self, request: Request) -> Reply:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise FailedRequest(f"the process ended during the request {request['do']}")
        reply: dict[str, Any] = json.loads(line)
        self.peak_mb = max(self.peak_mb, reply.pop("peak_mb"))
        if "error" in reply:
            raise FailedRequest(reply["error"])
        return reply


Case = tuple[str, Callable[[int], Request], int]
"""A name, a function that returns the request of a round, and the number of units (lines or tokens) in it."""


class Measured(Protocol):
    """A worker process or a command, which `alternate` measures."""

    name: str
    reason: str | None
    peak_mb: int

    def ask(self, request: Request) -> Reply:
        """Measure; the reply has a `rate`."""

    def close(self) -> None:
        """End all processes."""


def alternate(
    contestants: Sequence[Measured], cases: Sequence[Case], *, rounds: int, deadline: float, threads: int
) -> dict[str, Any]:
    """Measure all contestants in each round, case by case; return the record of the measurement.

    The first contestant is seqx, to which the others are compared. A contestant that fails is recorded with
    the reason and left out. A case or a round that would end after the deadline is left out.

    Args:
        contestants: the processes to measure
        cases: the requests to all of them
        rounds: maximum number of rounds
        deadline: end, on the clock `time.monotonic`
        threads: number of threads for the products of matrices
    """
    measured: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    try:
        for number in range(rounds):
            record: dict[str, Any] = {"matmul_gflops": matmul_rate(threads), "replies": {}}
            shift = number % len(contestants)
            order = [*contestants[shift:], *contestants[:shift]]
            for name, request, units in cases:
                seconds = _estimate([*measured, record], name, units)
                if seconds and time.monotonic() + seconds > deadline:
                    if not any(name in old["replies"] for old in measured):
                        skipped[name] = f"needs about {seconds:.0f} s"
                    continue
                record["replies"][name] = _measure(order, request(number))
            if record["replies"]:
                measured.append(record)
    finally:
        for contestant in contestants:
            contestant.close()
    return {
        "baseline": contestants[0].name,
        "rounds": measured,
        "peak_mb": {contestant.name: contestant.peak_mb for contestant in contestants if contestant.peak_mb},
        "left_out": {contestant.name: contestant.reason for contestant in contestants if contestant.reason},
        "skipped": skipped,
    }


def _estimate(measured: Sequence[Mapping[str, Any]], case: str, units: int) -> float | None:
    """Return the seconds that all contestants need for a case, from the last case; None: unknown."""
    groups = [group for record in measured for group in record["replies"].items()]
    if not groups:
        return None
    replies = next((replies for name, replies in reversed(groups) if name == case), groups[-1][1])
    return sum(units / reply["rate"] for reply in replies.values())


def _measure(contestants: Sequence[Measured], request: Request) -> dict[str, Reply]:
    """Measure the contestants in this order; end processes if there is too little memory for all to wait."""
    replies: dict[str, Reply] = {}
    for contestant in contestants:
        if contestant.reason is not None:
            continue
        try:
            replies[contestant.name] = contestant.ask(request)
        except FailedRequest as reason:
            contestant.reason = str(reason)
            contestant.close()
        if available_mb() < 1.5 * max(other.peak_mb for other in contestants):
            contestant.close()
    return replies


def available_mb() -> int:
    """Return the memory that the system has available, in MB."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable"))


def matmul_rate(threads: int, size: int = 1024, seconds: float = 0.4) -> float:
    """Return the machine's rate of fp32 matrix products in GFLOP/s, the best of several."""
    torch.set_num_threads(threads)
    a, b = torch.ones(size, size), torch.ones(size, size)
    best, end = 0.0, time.perf_counter() + seconds
    while True:
        start_time = time.perf_counter()
        a @ b
        now = time.perf_counter()
        best = max(best, 2 * size**3 / (now - start_time) / 1e9)
        if now > end:
            return round(best, 1)
