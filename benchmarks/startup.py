"""Time of short commands, compared with that of importing torch.

    python -m benchmarks.startup --rounds 9 --out startup.json

Each command runs in a new interpreter, with compiled bytecode in a temporary folder. Each round runs all
commands, and ratios compare the commands of one round. `translate` loads a small model.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.paths import model_path, output_file
from benchmarks.provenance import ROOT, provenance, write_record
from seqx import markdown_table

IMPORT_TORCH = "import torch"
SEQX = [sys.executable, "-m", "seqx"]
TRAINING = (
    *("training.steps=20", "training.validate_every=20", "training.save_every=20", "task.tokenizer.size=400"),
    "task.corpus={type: sample, train: 200, dev: 10, test: 10}",
)
"""Settings of the small model that `translate` loads."""


def commands(model: Path) -> Mapping[str, Sequence[str]]:
    """Return the measured commands by name."""
    return {
        IMPORT_TORCH: [sys.executable, "-c", IMPORT_TORCH],
        "seqx --help": [*SEQX, "--help"],
        "seqx check wmt_en_de": [*SEQX, "check", "wmt_en_de"],
        "seqx translate": [*SEQX, "translate", str(model)],
    }


def environment(folder: Path) -> Mapping[str, str]:
    """Return the variables of the commands: bytecode is compiled into a folder."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "OMP_NUM_THREADS": "1"}


def measure(command: Sequence[str], variables: Mapping[str, str]) -> dict[str, float]:
    """Run a command; return its seconds on the clock and of CPU time."""
    before, start_time = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, input=b"The house is old.\n", capture_output=True, check=True, cwd=ROOT, env=variables
    )
    seconds, after = time.perf_counter() - start_time, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3)}


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table: for each command the medians of its times, and their ratios to importing torch."""
    rows = []
    for name in record["commands"]:
        cells = [f"`{name}`"]
        for key in ("seconds", "cpu_seconds"):
            values, base = ([run[key] for run in record["commands"][n]] for n in (name, IMPORT_TORCH))
            ratios = [value / other for value, other in zip(values, base, strict=True)]
            cells += [
                f"{statistics.median(values):.2f} s",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
            ]
        rows.append(cells)
    head = ["command", "time", f"relative to `{IMPORT_TORCH}`", "CPU time", f"relative to `{IMPORT_TORCH}`"]
    yield from markdown_table(head, rows)


def main() -> None:
    """Measure, print the results and write a record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="number of rounds")
    parser.add_argument("--model", type=model_path, help="model of `translate`; left out: train a small one")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        variables = environment(folder)
        model = settings.model or folder / "run"
        if not settings.model:
            run = [*SEQX, "run", "wmt_en_de", "--profile", "sample", "--folder", str(model), *TRAINING]
            subprocess.run(run, check=True, capture_output=True, cwd=ROOT, env=variables)
        for command in commands(model).values():  # compile the bytecode
            measure(command, variables)
        results: dict[str, list[dict[str, float]]] = {name: [] for name in commands(model)}
        for _ in range(settings.rounds):
            for name, command in commands(model).items():
                results[name].append(measure(command, variables))
    record = {"benchmark": "startup", **provenance(), "rounds": settings.rounds, "commands": results}
    print("\n".join(table(record)))
    write_record(record, settings.out)


if __name__ == "__main__":
    main()
