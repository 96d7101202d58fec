"""Each harness of `tests/fuzz` in turn, fed with bytes that reach new code, and what came of it.

    nohup python -m benchmarks.fuzz --seconds 600 --workers 2 --out fuzz.json &

It needs `pip install -e '.[fuzz]'`, and runs at the lowest priority: `--seconds` are those of the clock for
each harness, and the record says how many of them the processor gave. What fails lies in `--found` then; put
it, under a name that says what it is, into `tests/fuzz/found/HARNESS/`, where the tests keep it. Exit code 1:
something failed.
"""

import argparse
import json
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

from benchmarks.provenance import ROOT, provenance
from seqx_watch.table import markdown
from tests.fuzz.harnesses import HARNESSES


@dataclass(frozen=True)
class Told:
    """What libFuzzer said of a harness."""

    inputs: int  # that were tried
    edges: int  # of the code's graph that were reached
    memory: int  # MiB at most


def told(said: str) -> Told | None:
    """From its last words; None: it did not come to them."""
    tried = re.search(r"^stat::number_of_executed_units: (\d+)$", said, re.MULTILINE)
    memory = re.search(r"^stat::peak_rss_mb: +(\d+)$", said, re.MULTILINE)
    reached = re.findall(r"^#\d+\s.* cov: (\d+) ", said, re.MULTILINE)
    if not (tried and memory and reached):
        return None
    return Told(int(tried[1]), int(reached[-1]), int(memory[1]))


def fuzzed(name: str, seconds: int, found: Path) -> dict[str, Any]:
    """What came of one harness, and which files it left.

    Raises:
        RuntimeError: it did not run at all
    """
    shutil.rmtree(found / name, ignore_errors=True)
    (found / name).mkdir(parents=True)
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds), "--found"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, str(found / name)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, process.returncode, used = os.wait4(process.pid, 0)
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    figures, files = told(said), sorted(path.name for path in (found / name).iterdir())
    if not (figures or files):
        raise RuntimeError(f"{name}: {said[-2000:]}")
    return {
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        **(asdict(figures) if figures else {"inputs": None, "edges": None, "memory": None}),
        "found": files,
    }


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """A line for each harness, and one for all."""
    every = record["harnesses"]
    rows = [_row(name, found, f"{found['processor_seconds'] / 60:.1f} min") for name, found in every.items()]
    known = [found for found in every.values() if found["inputs"] is not None]
    together = {
        "inputs": sum(found["inputs"] for found in known),
        "edges": None,
        "memory": max((found["memory"] for found in known), default=None),
        "found": [file for found in every.values() for file in found["found"]],
    }
    hours = sum(found["processor_seconds"] for found in every.values()) / 3600
    rows.append(_row("all", together, f"{hours:.2f} h"))
    yield from markdown(["harness", "processor", "inputs", "edges reached", "memory at most", "failed"], rows)


def _row(name: str, found: Mapping[str, Any], time: str) -> list[str]:
    figures = ["" if found[what] is None else f"{found[what]:,}" for what in ("inputs", "edges", "memory")]
    return [name, time, *figures[:2], f"{figures[2]} MiB" if figures[2] else "", str(len(found["found"]))]


def main() -> None:
    """Write the record, anew after each harness."""
    as_it_is = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_it_is)
    parser.add_argument("names", nargs="*", metavar="HARNESS", help=f"some of: {', '.join(HARNESSES)}")
    parser.add_argument("--seconds", type=int, default=600, help="for each harness")
    parser.add_argument("--workers", type=int, default=1, help="harnesses at a time")
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"), help="where what failed goes")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    record: dict[str, Any] = {**provenance(), "seconds": asked.seconds, "harnesses": {}}
    names, found = asked.names or [*HARNESSES], asked.found.resolve()
    with ThreadPoolExecutor(asked.workers) as pool:
        begun = {pool.submit(fuzzed, name, asked.seconds, found): name for name in names}
        done: dict[str, Any] = {}
        for each in as_completed(begun):
            done[begun[each]] = each.result()
            record["harnesses"] = {name: done[name] for name in names if name in done}
            if asked.out:
                asked.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table(record)))
    sys.exit(1 if any(each["found"] for each in record["harnesses"].values()) else 0)


if __name__ == "__main__":
    main()
