"""Predictions of `seqx plan` compared with runs: time and peak memory of five recipes.

    python -m benchmarks.plans --out plans.json
    python -m benchmarks.plans --only translation lstm --out plans.json    measures two; keeps other results

Each recipe is planned by one process, and then run by another one. The data are prepared before, so both
times are those from building the model to the last score. Memory is the maximum of the process's resident
memory (VmHWM), minus that when the model is built, after Python, torch and the plugins have been imported. No
report is written after the run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch._dynamo  # part of the imported process: building an optimizer imports it

import seqx
from benchmarks.paths import output_file
from benchmarks.provenance import provenance, write_record
from seqx import build, experiment, markdown_table
from seqx_plan.memory import PeakMemory

SAMPLE = (
    "task.corpus={type: sample}",
    "task.source_normalizers=[]",
    "task.target_normalizers=[]",
    "task.tokenizer.size=2000",
    "task.metrics=[bleu]",
)
"""Overrides with which a recipe of Multi30k reads the generated sample."""

LAST = ("training.validate_every=1000", "training.save_every=1000", "training.average=1")
"""Overrides with which a run validates and saves once, at its end."""

RECIPES: Mapping[str, Sequence[str]] = {
    "translation": ("wmt_en_de", "--profile", "sample", "training.steps=300", *LAST),
    "parsing": ("wsj_parsing", "--profile", "sample", "training.steps=300", *LAST),
    "language model": ("language_model", "--profile", "sample", "training.steps=400", *LAST),
    "lstm": ("multi30k_lstm", "--profile", "sample", "training.steps=200", *LAST),
    "convs2s": ("multi30k_convs2s", *SAMPLE, "training.steps=100", "training.tokens=4000", *LAST),
}
"""The arguments of `seqx plan` and `seqx run` for each recipe."""


def main() -> int:
    """Plan and run recipes, print the table and write the record."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--only", nargs="+", choices=RECIPES, default=list(RECIPES), help="recipes to measure"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="time of each probe")
    parser.add_argument("--run", help=argparse.SUPPRESS)  # run a recipe and print its measurements
    parser.add_argument("--out", type=output_file, help="JSON record")
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(measure(*json.loads(arguments.run))))
        return 0
    old = json.loads(arguments.out.read_text())["results"] if arguments.out and arguments.out.exists() else []
    results = {result["name"]: result for result in old}
    for name in arguments.only:
        results[name] = {"name": name, **compare(RECIPES[name], arguments.seconds)}
        print("\n".join(table({"results": [results[name]]})), flush=True)
        ordered = [results[each] for each in RECIPES if each in results]
        write_record({**provenance(), "threads": torch.get_num_threads(), "results": ordered}, arguments.out)
    return 0


def compare(recipe: Sequence[str], seconds: float) -> Mapping[str, Any]:
    """Plan and run one recipe, each in a new process."""
    plan = _output("-m", "seqx", "plan", *recipe, "--json", f"--seconds={seconds}")
    run = _output("-m", "benchmarks.plans", "--run", json.dumps(recipe))
    memory = plan["memory"]
    return {
        "recipe": list(recipe),
        "predicted": {"seconds": plan["duration"]["total"], "bytes": memory["total"] - memory["process"]},
        "measured": run,
        "plan": plan,
    }


def _output(*arguments: str) -> Any:
    """Return the JSON that a Python command prints last."""
    done = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout[done.stdout.index("{") :])


def measure(recipe: str, *arguments: str) -> Mapping[str, float]:
    """Run a recipe in this process; return its seconds and bytes since it began to build the model."""
    has_profile = arguments[:1] == ("--profile",)
    profile, overrides = (arguments[1], arguments[2:]) if has_profile else (None, arguments)
    checked = seqx.load_checked(recipe, profile, overrides)
    started: list[tuple[float, PeakMemory]] = []

    def measured_build(context: build.Context) -> seqx.Model:
        started.append((time.perf_counter(), PeakMemory(torch.device("cpu"))))
        return build.build_model(context)

    replaced = mock.patch.object(experiment, "build_model", measured_build)
    without_report = mock.patch.object(experiment, "notify_of_end", return_value=nullcontext())
    with replaced, without_report, tempfile.TemporaryDirectory() as folder:
        experiment.run(checked.configured, checked.plugins, name="plan", folder=Path(folder), device="cpu")
        ((start, memory),) = started
        return {"seconds": time.perf_counter() - start, "bytes": memory.growth() or 0}


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record."""
    rows = []
    for result in record["results"]:
        predicted, measured = result["predicted"], result["measured"]
        seconds, sizes = ([each[key] for each in (predicted, measured)] for key in ("seconds", "bytes"))
        rows.append(
            [
                result["name"],
                *(f"{value:.1f} s" for value in seconds),
                f"{seconds[0] / seconds[1] - 1:+.0%}",
                *(f"{value / 2**20:,.0f} MiB" for value in sizes),
                f"{sizes[0] / sizes[1] - 1:+.0%}",
            ]
        )
    header = ["recipe", "time predicted", "measured", "error", "memory predicted", "measured", "error"]
    yield from markdown_table(header, rows)


if __name__ == "__main__":
    sys.exit(main())
