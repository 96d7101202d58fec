"""Speed and memory of data preparation with one and two processes, on generated sentence pairs.

    python -m benchmarks.preparation --pairs 2000000 --out preparation.json

The translation task of a recipe reads the pairs from files, learns a vocabulary and encodes them. The pairs
have the lengths of WMT. Memory is the sum over all processes (Rss counts shared pages in each process, Pss
once).
"""

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.corpus import recombined, sentences
from benchmarks.paths import input_folder, output_file
from benchmarks.provenance import provenance, write_record
from seqx import markdown_table
from seqx.commands.loading import load_checked
from seqx.data.prepare import cached_vocabulary, no_progress, prepare
from seqx.interfaces.task import Task

WMT_EN_FR = 36_000_000
"""Sentence pairs of WMT 2014 English-French, to which the results are extrapolated."""

_HELD_OUT = 100  # pairs in each of dev and test


def write_pairs(folder: Path, pairs: int, seed: int, data: Path | None = None) -> list[str]:
    """Write pairs into files; return the overrides that make a recipe read them.

    Args:
        folder: the folder of the files
        pairs: number of training pairs
        seed: seed of the pairs
        data: the folder of real text (see `recombined`); None: generated text
    """
    count = pairs + 2 * _HELD_OUT
    rows = (
        sentences(np.random.default_rng(seed), count) if data is None else recombined(data, count, seed=seed)
    )
    files = {}
    for split, size in {"train": pairs, "dev": _HELD_OUT, "test": _HELD_OUT}.items():
        files[split] = [str(folder / f"{split}.{side}") for side in ("en", "de")]
        with (
            Path(files[split][0]).open("w", encoding="utf-8") as source,
            Path(files[split][1]).open("w", encoding="utf-8") as target,
        ):
            for pair in islice(rows, size):
                source.write(f"{pair[0]}\n")
                target.write(f"{pair[1]}\n")
    return [f"task.corpus={json.dumps({'type': 'files', **files})}", "task.metrics=[bleu]"]


class Memory:
    """Peak memory of this process and its descendants together, sampled by a thread."""

    def __init__(self) -> None:
        self.rss = self.pss = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.5):
            processes = _process_tree(os.getpid())
            self.rss = max(self.rss, sum(_kilobytes(pid, "Rss:") for pid in processes))
            self.pss = max(self.pss, sum(_kilobytes(pid, "Pss:") for pid in processes))


def _process_tree(root: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    try:
        children = [
            int(child)
            for path in Path(f"/proc/{root}/task").glob("*/children")
            for child in path.read_text(encoding="utf-8").split()
        ]
    except OSError:
        return []
    return [root, *(pid for child in children for pid in _process_tree(child))]


def _kilobytes(pid: int, name: str) -> int:
    """Return a field of smaps_rollup, such as "Rss:"; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def measure(task: Task, cache: Path, processes: int) -> dict[str, Any]:
    """Prepare the training data with a number of processes; return the measurements."""
    with Memory() as memory:
        start_time = time.perf_counter()
        store = prepare(task, "train", {"processes": processes}, cache, processes=processes)
        seconds = time.perf_counter() - start_time
    record = {
        "processes": processes,
        "seconds": round(seconds, 2),
        "lines_per_second": round(store.rows / seconds),
        "peak_rss_mb": memory.rss // 1024,
        "peak_pss_mb": memory.pss // 1024,
        "examples": len(store),
        "dropped": dict(store.dropped),
        "tokens": {name: len(column.values) for name, column in store.columns.items()},
    }
    record["files"] = {path.name: path.stat().st_size for path in sorted(store.folder.iterdir())}
    shutil.rmtree(store.folder)
    return record


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table with a row for each run: measurements, and estimates for English-French."""
    pairs, many = record["pairs"], f"{WMT_EN_FR // 10**6} M pairs"
    head = ["processes", "pairs/s", "peak memory", f"{many}: time", "disk for ids", "disk for text"]
    rows = []
    for run in record["runs"]:
        text = sum(size for name, size in run["files"].items() if ".text" in name)
        ids = sum(run["files"].values()) - text
        rows.append(
            [
                str(run["processes"]),
                f"{run['lines_per_second']:,}",
                f"{run['peak_pss_mb']:,} MiB",
                f"{WMT_EN_FR / run['lines_per_second'] / 60:.0f} min",
                *(f"{size / pairs * WMT_EN_FR / 1e9:.1f} GB" for size in (ids, text)),
            ]
        )
    yield from markdown_table(head, rows)


def main() -> None:
    """Measure, print the results and write a record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=300_000, help="number of sentence pairs")
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], help="numbers of processes to compare"
    )
    parser.add_argument("--vocabulary", type=int, default=8000, help="size of the SentencePiece vocabulary")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated pairs")
    parser.add_argument("--folder", type=input_folder, help="parent of the temporary folder")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        cache = Path(folder)
        size = f"task.tokenizer.size={settings.vocabulary}"
        overrides = write_pairs(cache, settings.pairs, settings.seed)
        task = load_checked("wmt_en_de", None, [*overrides, size]).configured().task
        task.fetch(cache, no_progress)
        task.load(cached_vocabulary(task, {}, cache))
        runs = []
        for processes in settings.processes:
            runs.append(measure(task, cache, processes))
            print(json.dumps(runs[-1]), flush=True)
    record = {
        "benchmark": "preparation",
        "pairs": settings.pairs,
        **provenance(),
        "runs": runs,
    }
    for run in runs[1:]:
        ratio = run["lines_per_second"] / runs[0]["lines_per_second"]
        print(f"{run['processes']} processes are {ratio:.2f} times as fast as {runs[0]['processes']}")
    write_record(record, settings.out)


if __name__ == "__main__":
    main()
