"""The parts of the GPU benchmark, run in sequence, each in its own process with a time limit; one record."""

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu import cases, table
from benchmarks.paths import output_file
from benchmarks.provenance import commit

ROOT = Path(__file__).parents[2]
PARTS = {"machine": 25.0, "training": 230.0, "decoding": 45.0, "repeats": 35.0, "multi30k": 195.0}
"""Time limit of each part in seconds, estimated from its cases and the start of PyTorch.

The last part has all of the time that is left, and adapts to it.
"""

START = 20.0
"""Time in seconds to start PyTorch and its device; with less time left, a part is skipped."""


def main() -> None:
    """Run the parts, write the record after each of them, and print the table."""
    args = _arguments()
    if args.part:
        _measure(args.part, args.out, args.limit, dry_run=args.dry_run)
        return
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # `finally` then stops the part that is running
    start_time = time.monotonic() - args.elapsed
    out = args.out or _default_record(dry_run=args.dry_run)
    out.parent.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "benchmark": "gpu",
        "dry_run": args.dry_run,
        "commit": commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "limit_seconds": args.limit,
        "estimated_seconds": PARTS,
        "expected": _expected(),
        "parts": {},
    }
    for name, seconds in PARTS.items():
        out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        left = args.limit - (time.monotonic() - start_time)
        takes_all = args.dry_run or name == [*PARTS][-1]
        limit = left if takes_all else min(seconds, left)
        record["parts"][name] = _part(name, limit, dry_run=args.dry_run, only=args.only)
        _compare(record["parts"])
        record["seconds"] = round(time.monotonic() - start_time, 1)
        print(f"{name}: {record['parts'][name]['status']}", file=sys.stderr, flush=True)
    out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(table.format_record(record))
    print(f"record: {out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    parser.add_argument(
        "--out",
        type=output_file,
        help="file for the JSON record; default: $OUT/gpu.json or benchmarks/results/gpu.json",
    )
    parser.add_argument("--limit", type=float, default=530.0, help="time limit of all parts in seconds")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts to run")
    parser.add_argument("--dry-run", action="store_true", help="run with tiny sizes on a CPU")
    parser.add_argument("--elapsed", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _part(name: str, limit: float, *, dry_run: bool, only: list[str]) -> Mapping[str, Any]:
    """Run a part in a process of its own; keep its measurements even if it fails or is stopped."""
    if name not in only:
        return {"status": "skipped", "reason": "not in --only", "cases": []}
    if limit < START:
        return {"status": "skipped", "reason": f"{max(0, limit):.0f} s left", "cases": []}
    start_time = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder, "cases.json"), Path(folder, "log")
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--out", str(out)]
        command += ["--limit", str(limit - 5), *(["--dry-run"] if dry_run else [])]
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        status: dict[str, Any] = {"status": "done"}
        try:
            if code := process.wait(limit):
                error = f"exit code {code}: {log.read_text(errors='replace', encoding='utf-8')[-3000:]}"
                status = {"status": "failed", "error": error}
        except subprocess.TimeoutExpired:
            status = {"status": "stopped", "reason": f"took more than {limit:.0f} s"}
        finally:
            _stop(process)
        measured = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else []
    if status["status"] == "done" and any(case["status"] != "done" for case in measured):
        status = {"status": "incomplete"}
    return {**status, "seconds": round(time.monotonic() - start_time, 2), "cases": measured}


def _expected() -> Mapping[str, Any]:
    """Return the expected speeds, or an error. Another process computes them, without the GPU."""
    command = [sys.executable, "-m", "benchmarks.gpu.expected"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {"error": done.stderr[-3000:]}
    except (subprocess.TimeoutExpired, ValueError) as error:
        return {"error": str(error)}


def _compare(parts: Mapping[str, Any]) -> None:
    """Add the speed of training as a fraction of the measured speed of matrix products."""
    rates = {
        case["name"].removeprefix("matmul "): case["figures"]["tflops"]
        for case in parts["machine"]["cases"]
        if case["name"].startswith("matmul") and case["status"] == "done"
    }
    for case in parts.get("training", {}).get("cases", ()):
        if case["status"] == "done" and case["figures"]["precision"] in rates:
            rate = rates[case["figures"]["precision"]]
            case["figures"]["fraction_of_matmul"] = case["figures"]["tflops"] / rate


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the process of a part and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _measure(name: str, out: Path, limit: float, *, dry_run: bool) -> None:
    """Run the cases of a part in this process."""
    if dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    part = importlib.import_module(f"benchmarks.gpu.{name}")  # torch is slow to import
    cases.run(part.cases(dry_run=dry_run), out, limit)


def _default_record(*, dry_run: bool) -> Path:
    """Return the default path of the record."""
    folder = os.environ.get("OUT") or ROOT / "benchmarks" / "results"
    return Path(folder, "gpu-dry-run.json" if dry_run else "gpu.json")


if __name__ == "__main__":
    main()
