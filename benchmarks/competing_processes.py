"""The callback of `benchmarks.busy_cpu`, which starts and ends competing processes and counts tokens."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import seqx

TIME_LIMIT = 170
"""Time limit of a competing process, in seconds."""

WARMUP = 60
"""Updates before the first measurement."""


class CompetingProcesses(seqx.Callback):
    """A callback that measures target tokens per second next to competing processes, then stops the run.

    Args:
        busy: the number of competing processes in each interval
        seconds: the length of an interval
        out: the JSON file for the measurements
    """

    def __init__(self, *, busy: list[int], seconds: float, out: str) -> None:
        self.busy = busy
        self.seconds = seconds
        self.out = out
        self._competitors: list[subprocess.Popen[bytes]] = []
        self._rates: list[float] = []
        self._updates = self._tokens = 0
        self._start_time: float | None = None

    @seqx.hookimpl
    def updated(self, update: seqx.Update) -> None:
        """Count tokens, and start the next interval at the end of an interval."""
        self._updates += 1
        if self._updates < WARMUP or len(self._rates) == len(self.busy):
            return
        self._tokens += update.tokens
        if self._start_time is None:
            self._start_interval()
        elif (elapsed := time.monotonic() - self._start_time) >= self.seconds:
            self._rates.append(self._tokens / elapsed)
            if len(self._rates) < len(self.busy):
                self._start_interval()
            else:
                self._set_competitors(0)
                Path(self.out).write_text(json.dumps(self._rates), encoding="utf-8")
                os.kill(os.getpid(), signal.SIGTERM)

    @seqx.hookimpl
    def failed(self) -> None:
        """End the competing processes, however the run ends."""
        self._set_competitors(0)

    def _start_interval(self) -> None:
        """Start or end competing processes, and reset the count."""
        self._set_competitors(self.busy[len(self._rates)])
        self._start_time, self._tokens = time.monotonic(), 0

    def _set_competitors(self, processes: int) -> None:
        """Start or end processes until `processes` of them run."""
        while len(self._competitors) < processes:
            command = ["timeout", str(TIME_LIMIT), "sh", "-c", "while :; do :; done"]
            self._competitors.append(subprocess.Popen(command))
        while len(self._competitors) > processes:
            process = self._competitors.pop()
            process.terminate()
            process.wait()


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the callback."""
    registry.add(seqx.Callback, competing_processes=CompetingProcesses)
