"""Several runs of `seqx run` in other processes; finished runs are not repeated."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.provenance import provenance
from seqx_runs.comparison import compare_runs, format_comparison

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, eq=False)
class Job:
    """One run: its name and the arguments of `seqx run`."""

    name: str
    arguments: Sequence[str]
    folder: Path  # run folder

    @property
    def log(self) -> Path:
        """File for the output of the run."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def start(self, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start or resume the run."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "seqx", "run", *self.arguments, "--folder", str(self.folder)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


def work(jobs: Iterable[Job], workers: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Run all jobs, `workers` at the same time; return the last log line of each failed job by name.

    SIGINT and SIGTERM stop the runs, too; the same call resumes them.
    """
    previous_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    waiting, failed = deque(jobs), dict[str, str]()
    running: dict[Job, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.popleft()
                running[job] = job.start(environment)
                print(f"{job.name}: see {job.log}", file=sys.stderr, flush=True)
            for job in [job for job, process in running.items() if process.poll() is not None]:
                code = running.pop(job).returncode
                if code:
                    failed[job.name] = _last_line(job.log) or f"exit code {code}"
                print(f"{job.name}: {failed.get(job.name, 'finished')}", file=sys.stderr, flush=True)
            time.sleep(0.2)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
        signal.signal(signal.SIGTERM, previous_handler)
    return failed


def report(
    jobs: Iterable[Job], failed: Mapping[str, str], about: Mapping[str, Any], out: Path | None
) -> Sequence[Mapping[str, Any]]:
    """Print the runs and the failures in a table; return the runs as `seqx compare --json` prints them.

    Args:
        jobs: runs to compare
        failed: last log line of each failed run
        about: further entries of the record
        out: file for the JSON record, which omits the folders; None: no record
    """
    started = [job.folder for job in jobs if (job.folder / "recipe.yaml").is_file()]
    compared = compare_runs(started) if started else []
    if compared:
        print("\n".join(format_comparison(compared)))
    for name, reason in failed.items():
        print(f"{name}: failed: {reason}")
    if out:
        runs = [{name: value for name, value in run.items() if name != "folder"} for run in compared]
        text = json.dumps({**provenance(), **about, "failed": failed, "runs": runs}, indent=2)
        out.write_text(f"{text}\n", encoding="utf-8")
    return compared


def one_thread() -> dict[str, str]:
    """Return the environment variable for one thread per run, unless it is set already."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def _last_line(log: Path) -> str:
    """Return the last line of a log that is not blank."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")
