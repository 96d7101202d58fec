"""Speed of training on a CPU that other processes use, too: target tokens per second of the sample's model.

    python -m benchmarks.busy_cpu --out busy_cpu.json

Each case is one run. Competing processes start and end while it trains. The measurement includes the time
until seqx notices them. No other program may use the machine. The competing processes end with the run, or
after a time limit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.paths import output_file
from benchmarks.provenance import ROOT, provenance, write_record
from seqx.runtime.cpu_threads import USER_SETTINGS

BUSY = [0, 1, 0, 3, 0]
"""The number of competing processes in each interval."""

POLICIES: Mapping[str, Mapping[str, str]] = {
    "adapts": {},
    "always spins": {"OMP_DYNAMIC": "false"},  # seqx does not adapt if the variable is set
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""Environment variables of each policy for the threads of the run."""

REQUIRED = {1: 0.6, 3: 0.25}
"""The required fraction of the idle machine's speed, by the number of competing processes."""


def measure(policy: str, precision: str, seconds: float, folder: Path) -> list[float]:
    """Train one run; return the target tokens per second in each interval."""
    out = folder / "rates.json"
    recipe = folder / "busy_cpu.yaml"
    competitors = {"type": "competing_processes", "busy": BUSY, "seconds": seconds, "out": str(out)}
    text = {
        "extends": "wmt_en_de",
        "plugins": [str(ROOT / "benchmarks" / "competing_processes.py")],
        "callbacks": [competitors],
    }
    recipe.write_text(json.dumps(text), encoding="utf-8")
    large_steps = [f"training.{name}=1000000" for name in ("steps", "validate_every", "save_every")]
    environment = {key: value for key, value in os.environ.items() if key not in USER_SETTINGS}
    environment.pop("OMP_NUM_THREADS", None)
    subprocess.run(
        [sys.executable, "-m", "seqx", "run", str(recipe), "--profile", "sample", "--device", "cpu",
         "--folder", str(folder / f"{policy}-{precision}"), f"training.precision={precision}", *large_steps],
        env={**environment, **POLICIES[policy]}, check=False, capture_output=True,
        timeout=60 + 3 * seconds * len(BUSY),
    )  # fmt: skip
    rates: list[float] = json.loads(out.read_text(encoding="utf-8"))
    out.unlink()
    return rates


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of speeds, and of their ratio to the idle machine with the policy `always spins`."""
    yield "| precision | threads | idle machine | 1 competing process | 3 competing processes |"
    yield "|---|---|---|---|---|"
    idle = {
        case["precision"]: case["rates"][0] for case in record["cases"] if case["policy"] == "always spins"
    }
    for case in record["cases"]:
        cells = [
            f"{rate:,.0f} ({rate / idle.get(case['precision'], case['rates'][0]):.2f})"
            for rate in (case["rates"][BUSY.index(busy)] for busy in (0, 1, 3))
        ]
        yield f"| {case['precision']} | {case['policy']} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, print and write a record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each interval in seconds")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "fp32"], default=["bf16", "fp32"])
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    options = parser.parse_args()
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for precision in options.precisions:
            for policy in options.policies:
                rates = measure(policy, precision, options.seconds, Path(folder))
                cases.append({"precision": precision, "policy": policy, "rates": rates})
    about = {"threads": torch.get_num_threads(), "busy": BUSY, "seconds": options.seconds}
    record = {**provenance(), **about, "required": REQUIRED, "cases": cases}
    print("\n".join(table(record)))
    write_record(record, options.out)


if __name__ == "__main__":
    main()
