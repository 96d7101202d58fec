"""A callback for `benchmarks.beside`: trains next to processes that keep CPUs busy, and counts tokens."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import seqx

BOUND = 170
"""Seconds after which a competing process ends in any case."""

WARM = 60
"""Updates before the first measurement."""


class Paced(seqx.Callback):
    """Measures target tokens a second while other processes come and go, then stops the run.

    Args:
        busy: the number of competing processes in each interval
        seconds: the length of an interval
        out: the JSON file for the measurements
    """

    def __init__(self, *, busy: list[int], seconds: float, out: str) -> None:
        self.busy = busy
        self.seconds = seconds
        self.out = out
        self._load: list[subprocess.Popen[bytes]] = []
        self._rates: list[float] = []
        self._updates = self._tokens = 0
        self._began: float | None = None

    @seqx.hookimpl
    def updated(self, update: seqx.Update) -> None:
        """Count tokens, and begin the next interval when one is over."""
        self._updates += 1
        if self._updates < WARM or len(self._rates) == len(self.busy):
            return
        self._tokens += update.tokens
        if self._began is None:
            self._begin()
        elif (spent := time.monotonic() - self._began) >= self.seconds:
            self._rates.append(self._tokens / spent)
            if len(self._rates) < len(self.busy):
                self._begin()
            else:
                self._compete(0)
                Path(self.out).write_text(json.dumps(self._rates), encoding="utf-8")
                os.kill(os.getpid(), signal.SIGTERM)

    @seqx.hookimpl
    def failed(self) -> None:
        """End the competing processes, however the run ends."""
        self._compete(0)

    def _begin(self) -> None:
        self._compete(self.busy[len(self._rates)])
        self._began, self._tokens = time.monotonic(), 0

    def _compete(self, processes: int) -> None:
        while len(self._load) < processes:
            command = ["timeout", str(BOUND), "sh", "-c", "while :; do :; done"]
            self._load.append(subprocess.Popen(command))
        while len(self._load) > processes:
            process = self._load.pop()
            process.terminate()
            process.wait()


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer the callback to recipes."""
    registry.add(seqx.Callback, paced=Paced)
