"""Commands that are measured as a whole."""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.rounds import FailedRequest, Reply, Request
from benchmarks.provenance import ROOT

_RUNNER = """
import ctypes, os, resource, subprocess, sys, time
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
start_time = time.perf_counter()
code = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - start_time
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    file.write(f"{seconds} {usage.ru_maxrss} {usage.ru_utime + usage.ru_stime}")
sys.exit(code)
"""
# A small process starts the command, because its peak memory includes that of the process that starts it. It
# also waits for processes that outlive the command that started them, so that their CPU time is counted.


@dataclass
class Program:
    """A command that is run anew for each measurement.

    Args:
        name: the name in the record
        command: returns the arguments, for an empty folder
        rate: regular expression for the target tokens per second in its output; None: measure runs per second
        variables: additional environment variables
        standard_input: text that it reads
    """

    name: str
    command: Callable[[Path], Sequence[str]]
    rate: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    standard_input: str = ""
    reason: str | None = None
    peak_mb: int = 0

    def ask(self, request: Request) -> Reply:
        """Run the command; return its seconds and the median of its rates, without the first.

        Raises:
            FailedRequest: the command failed, or it printed no rate
        """
        with tempfile.TemporaryDirectory() as folder:
            usage = Path(folder, "usage")
            command = [sys.executable, "-I", "-S", "-c", _RUNNER, str(usage), *self.command(Path(folder))]
            done = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.variables},
                input=self.standard_input,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            seconds, kilobytes, cpu_seconds = map(float, usage.read_text(encoding="ascii").split())
        output = done.stdout + done.stderr
        if done.returncode:
            raise FailedRequest(f"exit code {done.returncode}: {output[-300:]}")
        self.peak_mb = max(self.peak_mb, int(kilobytes) // 1024)
        if self.rate is None:
            return {"seconds": seconds, "cpu_seconds": cpu_seconds, "rate": 1 / seconds}
        rates = [float(text.replace(",", "")) for text in re.findall(self.rate, output)]
        if not rates:
            raise FailedRequest(f"no rate in the output: {output[-300:]}")
        return {"seconds": seconds, "rate": statistics.median(rates[1:] or rates)}

    def close(self) -> None:
        """Do nothing: the command has ended."""
