"""Runs of `seqx run`, some at a time, in processes of their own; what is finished is not done again."""

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
from seqx_watch.comparison import compare_runs, format_comparison

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, eq=False)
class Job:
    """One run: its name, and what stands behind `seqx run`."""

    name: str
    arguments: Sequence[str]
    folder: Path  # of the run

    @property
    def log(self) -> Path:
        """Where what it says goes."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def start(self, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Begin, or go on."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "seqx", "run", *self.arguments, "--folder", str(self.folder)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


def work(jobs: Iterable[Job], workers: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Run all, `workers` at a time; what those that failed said last, by their names.

    Stopped by an interrupt or a request to end, it stops its runs, and the same call goes on with them.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
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
                    failed[job.name] = _last(job.log) or f"exit code {code}"
                print(f"{job.name}: {failed.get(job.name, 'finished')}", file=sys.stderr, flush=True)
            time.sleep(0.2)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
        signal.signal(signal.SIGTERM, before)
    return failed


def told(
    jobs: Iterable[Job], failed: Mapping[str, str], about: Mapping[str, Any], out: Path | None
) -> Sequence[Mapping[str, Any]]:
    """Print the runs side by side, and what failed; returns what `seqx compare --json` would say of them.

    A JSON record of it, with what it is `about` but not where, goes to `out`, if that is given.
    """
    there = [job.folder for job in jobs if (job.folder / "recipe.yaml").is_file()]
    compared = compare_runs(there) if there else []
    if compared:
        print("\n".join(format_comparison(compared)))
    for name, said in failed.items():
        print(f"{name}: failed: {said}")
    if out:
        runs = [{name: value for name, value in run.items() if name != "folder"} for run in compared]
        text = json.dumps({**provenance(), **about, "failed": failed, "runs": runs}, indent=2)
        out.write_text(f"{text}\n", encoding="utf-8")
    return compared


def one_thread() -> dict[str, str]:
    """What leaves each run one thread, unless the environment says how many."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def _last(log: Path) -> str:
    """The last line of a log that says something."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")
