"""Runs the parts one after another, each in a process of its own with a limit, and keeps one record."""

import argparse
import contextlib
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
from benchmarks.provenance import commit

ROOT = Path(__file__).parents[2]
PARTS = {"machine": 45.0, "training": 210.0, "repeats": 40.0, "multi30k": 200.0, "decoding": 45.0}
"""Seconds of each; together a little more than there is, for a part as a rule leaves some of its own."""

START = 20.0
"""Seconds a part may take to begin: PyTorch and its device."""


def main() -> None:
    """Measure, keep the record, print the table."""
    args = _arguments()
    if args.part:
        _measure(args.part, args.out, args.limit, dry_run=args.dry_run)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that parts are stopped, too
    began = time.monotonic()
    out = args.out or _place(dry_run=args.dry_run)
    out.parent.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "benchmark": "gpu",
        "dry_run": args.dry_run,
        "commit": commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "limit_seconds": args.limit,
        "parts": {},
    }
    for name, seconds in PARTS.items():
        left = args.limit - (time.monotonic() - began)
        limit = left if args.dry_run else min(seconds, left)
        record["parts"][name] = _part(name, limit, dry_run=args.dry_run, wanted=args.only)
        _compare(record["parts"])
        record["seconds"] = round(time.monotonic() - began, 1)
        out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"{name}: {record['parts'][name]['status']}", file=sys.stderr, flush=True)
    print(table.of(record))
    print(f"record: {out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="the JSON record; $OUT/gpu.json or benchmarks/results/ if left out"
    )
    parser.add_argument("--limit", type=float, default=530.0, help="seconds for everything")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts to run")
    parser.add_argument("--dry-run", action="store_true", help="the same with tiny sizes, on a CPU")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _part(name: str, limit: float, *, dry_run: bool, wanted: list[str]) -> Mapping[str, Any]:
    """Run a part in a process of its own; what it measured before it was stopped or broke is kept."""
    if name not in wanted:
        return {"status": "skipped", "reason": "not asked for", "cases": []}
    if limit < START:
        return {"status": "skipped", "reason": f"{max(0, limit):.0f} s left", "cases": []}
    began = time.monotonic()
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
    return {**status, "seconds": round(time.monotonic() - began, 2), "cases": measured}


def _compare(parts: Mapping[str, Any]) -> None:
    """Hold the arithmetic of training against the rate of matrix products measured before."""
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
    """End a part, and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _measure(name: str, out: Path, limit: float, *, dry_run: bool) -> None:
    """In the process of a part."""
    if dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from benchmarks.gpu import decoding, machine, multi30k, repeats, training  # noqa: PLC0415  # torch is slow to import

    parts = {
        "machine": machine,
        "training": training,
        "repeats": repeats,
        "multi30k": multi30k,
        "decoding": decoding,
    }
    cases.run(parts[name].cases(dry_run=dry_run), out, limit)


def _place(*, dry_run: bool) -> Path:
    folder = os.environ.get("OUT") or ROOT / "benchmarks" / "results"
    return Path(folder, "gpu-dry-run.json" if dry_run else "gpu.json")


if __name__ == "__main__":
    main()
