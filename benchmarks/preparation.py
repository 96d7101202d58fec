"""How fast a corpus is prepared: generated pairs of WMT's lengths, one process against two.

    python -m benchmarks.preparation --pairs 2000000 --out preparation.json

The pairs are written into files, and then it is the translation task of a recipe that reads them, learns a
vocabulary, and encodes. Memory is the sum over all processes, as Linux counts it (Rss: shared pages count in
each; Pss: once).
"""

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.corpus import sentences
from benchmarks.provenance import provenance
from seqx.commands.loading import load_checked
from seqx.data.prepare import cached_vocabulary, no_progress, prepare
from seqx.interfaces.task import Task
from seqx_watch.table import markdown

WMT_EN_FR = 36_000_000
"""Pairs of WMT 2014's English and French, to which the figures are extrapolated."""

_HELD_OUT = 100  # pairs of dev and test


def written(folder: Path, pairs: int, seed: int) -> list[str]:
    """Write the pairs into files; what a recipe says of them."""
    rng = np.random.default_rng(seed)
    files = {}
    for split, count in {"train": pairs, "dev": _HELD_OUT, "test": _HELD_OUT}.items():
        files[split] = [str(folder / f"{split}.{side}") for side in ("en", "de")]
        with (
            Path(files[split][0]).open("w", encoding="utf-8") as source,
            Path(files[split][1]).open("w", encoding="utf-8") as target,
        ):
            for pair in sentences(rng, count):
                source.write(f"{pair[0]}\n")
                target.write(f"{pair[1]}\n")
    return [f"task.corpus={json.dumps({'type': 'files', **files})}", "task.metrics=[bleu]"]


class Memory:
    """The most memory that this process and its descendants used together, sampled by a thread."""

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
            family = _family(os.getpid())
            self.rss = max(self.rss, sum(_kilobytes(pid, "Rss:") for pid in family))
            self.pss = max(self.pss, sum(_kilobytes(pid, "Pss:") for pid in family))


def _family(root: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = [
            int(child)
            for path in Path(f"/proc/{root}/task").glob("*/children")
            for child in path.read_text(encoding="utf-8").split()
        ]
    except OSError:
        return []
    return [root, *(pid for child in children for pid in _family(child))]


def _kilobytes(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def measure(task: Task, cache: Path, processes: int) -> dict[str, Any]:
    """Prepare once with so many processes."""
    with Memory() as memory:
        began = time.perf_counter()
        store = prepare(task, "train", {"processes": processes}, cache, processes=processes)
        seconds = time.perf_counter() - began
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
    """What was measured, and what it makes for the pairs of English and French, a line for each run."""
    pairs, many = record["pairs"], f"{WMT_EN_FR // 10**6} M pairs"
    head = ["processes", "pairs a second", "memory at most", f"{many}: time", "disk for ids", "and for text"]
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
    yield from markdown(head, rows)


def main() -> None:
    """Measure, print, and keep a record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=300_000, help="pairs that are prepared")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="how many are compared")
    parser.add_argument("--vocabulary", type=int, default=8000, help="pieces of the SentencePiece model")
    parser.add_argument("--seed", type=int, default=1, help="of the generated pairs")
    parser.add_argument("--folder", type=Path, help="where text and stores are written and removed again")
    parser.add_argument("--out", type=Path, help="where the JSON record is written")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        cache = Path(folder)
        size = f"task.tokenizer.size={settings.vocabulary}"
        said = written(cache, settings.pairs, settings.seed)
        task = load_checked("wmt_en_de", None, [*said, size]).made().task
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
    if settings.out:
        settings.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
