"""Fuzzing of each harness of `tests/fuzz` with libFuzzer.

    nohup python -m benchmarks.fuzz --seconds 600 --workers 2 --out fuzz.json &

It needs `pip install -e '.[fuzz]'` and runs at the lowest priority. `--seconds` is wall-clock time for each
harness; the record contains the processor time. Inputs that fail are written to the folder `--found`. Copy
each failed input to `tests/fuzz/found/HARNESS/` under a name that describes it; the tests then use it, too.
The exit code is 1 if an input failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.paths import output_file
from benchmarks.provenance import ROOT, provenance, write_record
from seqx import markdown_table
from tests.fuzz.harnesses import HARNESSES


@dataclass(frozen=True)
class Statistics:
    """Statistics of libFuzzer for one harness."""

    inputs: int  # number of inputs
    edges: int  # number of edges of the control-flow graph that were reached
    memory: int  # peak memory in MiB


def parse_statistics(log: str) -> Statistics | None:
    """Read the statistics from the log of libFuzzer; None if it ended before it printed them."""
    inputs = re.search(r"^stat::number_of_executed_units: (\d+)$", log, re.MULTILINE)
    memory = re.search(r"^stat::peak_rss_mb: +(\d+)$", log, re.MULTILINE)
    edges = re.findall(r"^#\d+\s.* cov: (\d+) ", log, re.MULTILINE)
    if not (inputs and memory and edges):
        return None
    return Statistics(int(inputs[1]), int(edges[-1]), int(memory[1]))


def run_harness(name: str, seconds: int, folder: Path) -> dict[str, Any]:
    """Fuzz one harness; return its statistics and the names of the inputs that failed.

    Args:
        name: name of the harness
        seconds: wall-clock time
        folder: folder for inputs that fail; a subfolder is created for the harness

    Raises:
        RuntimeError: the harness did not run at all
    """
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).mkdir(parents=True)
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds), "--found"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, str(folder / name)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, process.returncode, used = os.wait4(process.pid, 0)
        errors.seek(0)
        log = errors.read().decode(errors="replace")
    statistics, files = parse_statistics(log), sorted(path.name for path in (folder / name).iterdir())
    if not (statistics or files):
        raise RuntimeError(f"{name}: {log[-2000:]}")
    return {
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        **(asdict(statistics) if statistics else {"inputs": None, "edges": None, "memory": None}),
        "found": files,
    }


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table with a row for each harness, and a row for all together."""
    every = record["harnesses"]
    rows = [
        _row(name, harness, f"{harness['processor_seconds'] / 60:.1f} min") for name, harness in every.items()
    ]
    complete = [harness for harness in every.values() if harness["inputs"] is not None]
    total = {
        "inputs": sum(harness["inputs"] for harness in complete),
        "edges": None,
        "memory": max((harness["memory"] for harness in complete), default=None),
        "found": [file for harness in every.values() for file in harness["found"]],
    }
    hours = sum(harness["processor_seconds"] for harness in every.values()) / 3600
    rows.append(_row("all", total, f"{hours:.2f} h"))
    yield from markdown_table(
        ["harness", "processor", "inputs", "edges reached", "peak memory", "failed inputs"], rows
    )


def _row(name: str, record: Mapping[str, Any], time: str) -> list[str]:
    numbers = ["" if record[key] is None else f"{record[key]:,}" for key in ("inputs", "edges", "memory")]
    return [name, time, *numbers[:2], f"{numbers[2]} MiB" if numbers[2] else "", str(len(record["found"]))]


def main() -> None:
    """Fuzz the harnesses; write the record after each of them."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("names", nargs="*", metavar="HARNESS", help=f"default: all, {', '.join(HARNESSES)}")
    parser.add_argument("--seconds", type=int, default=600, help="wall-clock time of each harness")
    parser.add_argument("--workers", type=int, default=1, help="harnesses that run at the same time")
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"), help="folder for inputs that fail")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    options = parser.parse_args()
    record: dict[str, Any] = {**provenance(), "seconds": options.seconds, "harnesses": {}}
    names, folder = options.names or [*HARNESSES], options.found.resolve()
    with ThreadPoolExecutor(options.workers) as pool:
        futures = {pool.submit(run_harness, name, options.seconds, folder): name for name in names}
        finished: dict[str, Any] = {}
        for future in as_completed(futures):
            finished[futures[future]] = future.result()
            record["harnesses"] = {name: finished[name] for name in names if name in finished}
            write_record(record, options.out)
    print("\n".join(table(record)))
    sys.exit(1 if any(harness["found"] for harness in record["harnesses"].values()) else 0)


if __name__ == "__main__":
    main()
