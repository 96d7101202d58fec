"""Time and memory of each step of preparation, for corpora of several sizes.

    python -m benchmarks.corpus_sizes --data "$SEQX_DATA" --out corpus_sizes.json

The steps are those of `seqx run` from text files to the first update: reading and hashing the files, learning
the vocabulary, encoding, and planning an epoch. The text consists of real sentences, or is generated without
`--data`. Each size is measured in a process of its own. Memory is the peak over this process and its
descendants together (Pss, which counts shared pages once), including resident pages of files.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.paths import output_file, real_text
from benchmarks.preparation import Memory, write_pairs
from benchmarks.provenance import ROOT, provenance, write_record
from seqx import markdown_table
from seqx.commands.loading import load_checked
from seqx.data.batches import Batches
from seqx.data.prepare import cached_vocabulary, no_progress, prepare

STEPS = {"reading": "read", "vocabulary": "vocabulary", "encoding": "encode", "planning": "plan"}
"""The steps, and their names in the table."""


def measure(pairs: int, data: Path | None, vocabulary: int, processes: int) -> dict[str, Any]:
    """Return the seconds and the peak memory of each step for a corpus of this size."""
    steps: dict[str, dict[str, float]] = {}

    def step(name: str, work: Callable[[], Any]) -> Any:
        with Memory() as memory:
            start_time = time.perf_counter()
            result = work()
            seconds = time.perf_counter() - start_time
        steps[name] = {"seconds": round(seconds, 2), "peak_mb": memory.pss // 1024}
        return result

    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        overrides = [*write_pairs(cache, pairs, 1, data), f"task.tokenizer.size={vocabulary}"]
        task = load_checked("wmt_en_de", None, overrides).configured().task
        step("reading", partial(task.fetch, cache, no_progress))
        task.load(step("vocabulary", partial(cached_vocabulary, task, {}, cache)))
        store = step("encoding", partial(prepare, task, "train", {}, cache, processes=processes))
        step("planning", partial(Batches(store=store, tokens=25_000, groups=8).plan, 0))
        tokens = {name: len(column.values) for name, column in store.columns.items()}
        return {"pairs": pairs, "examples": len(store), "tokens": tokens, "steps": steps}


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table with a row for each size."""
    rows = []
    for size in record["sizes"]:
        seconds = [size["steps"][name]["seconds"] for name in STEPS]
        memory = max(size["steps"][name]["peak_mb"] for name in ("encoding", "planning"))
        rows.append(
            [
                f"{size['pairs']:,}",
                *(f"{value:,.1f} s" for value in seconds),
                f"{sum(seconds) / 60:.1f} min",
                f"{size['pairs'] / size['steps']['encoding']['seconds']:,.0f}",
                f"{size['steps']['vocabulary']['peak_mb']:,} MB",
                f"{memory:,} MB",
            ]
        )
    head = [
        "pairs",
        *STEPS.values(),
        "together",
        "pairs/s encoded",
        "memory: vocabulary",
        "memory: encode, plan",
    ]
    yield from markdown_table(head, rows)


def main() -> None:
    """Measure each size in a process of its own, print the table and write the record."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks.corpus_sizes", description=__doc__, formatter_class=raw)
    parser.add_argument("--pairs", type=int, nargs="+", default=[200_000, 1_000_000, 4_500_000], help="sizes")
    parser.add_argument("--data", type=real_text, help="folder of real text; default: generated text")
    parser.add_argument("--vocabulary", type=int, default=32_000, help="size of the vocabulary")
    parser.add_argument("--processes", type=int, default=2, help="number of processes that encode")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.pairs[0], options.data, options.vocabulary, options.processes)))
        return
    record: dict[str, Any] = {"benchmark": "corpus_sizes", **provenance(), "sizes": []}
    record.update(
        processes=options.processes, vocabulary=options.vocabulary, real_text=options.data is not None
    )
    for pairs in options.pairs:
        command = [sys.executable, "-m", "benchmarks.corpus_sizes", "--one", "--pairs", str(pairs)]
        command += ["--vocabulary", str(options.vocabulary), "--processes", str(options.processes)]
        command += ["--data", str(options.data.absolute())] if options.data else []
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        record["sizes"].append(json.loads(done.stdout.splitlines()[-1]))
        print(done.stdout.splitlines()[-1], file=sys.stderr, flush=True)
        write_record(record, options.out)
    print("\n".join(table(record)))


if __name__ == "__main__":
    main()
