"""What a large corpus costs before training: a store of generated ids, its repeats, and the plan of an epoch.

    python -m benchmarks.scale --pairs 36000000 --out scale.json

One process, one thread. Memory is the most that was resident during a stage (VmHWM), that of Python and torch
included; pages of the store that are mapped count as long as they are resident. Of the pairs one in fifty
repeats another, as far as their hashes go: hashes are 64 random bits, as those of rows are.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import store
from benchmarks.provenance import provenance
from seqx.data.encode import first_of_each
from seqx.data.plan import plan
from seqx_watch.table import markdown

REPEATED = 50
"""One in so many pairs repeats another."""


def measured(stage: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a stage gives; its seconds, and the most memory during it in GB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest value starts from here
    began = time.perf_counter()
    found = stage()
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return found, {"seconds": round(seconds, 2), "peak_gb": round(int(peak.split()[1]) / 1e6, 3)}


def record(folder: Path, pairs: int, vocabulary: int, tokens: int, groups: int) -> dict[str, Any]:
    """All stages, one after another."""
    examples, writing = measured(partial(store, folder, pairs=pairs, vocabulary=vocabulary))
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    hashes = np.random.default_rng(1).integers(0, 2**64, pairs, np.uint64)
    hashes[REPEATED - 1 :: REPEATED] = hashes[::REPEATED][: pairs // REPEATED]
    keep, repeats = measured(partial(first_of_each, hashes))
    lengths = {name: examples.lengths(name).astype(np.int32) for name in examples.columns}
    epoch, planning = measured(partial(plan, lengths, tokens=tokens, groups=groups, seed=1, epoch=0))
    return {
        "pairs": pairs,
        "vocabulary": vocabulary,
        "tokens": {name: int(column.sum()) for name, column in lengths.items()},
        "files": files,
        "disk_gb": round(sum(files.values()) / 1e9, 3),
        "updates": len(epoch),
        "repeats": int((~keep).sum()),
        "writing": writing,
        "finding repeats": repeats,
        "planning an epoch": planning,
        **provenance(),
        "numpy": np.__version__,
    }


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """A line for each stage."""
    stages = ("writing", "finding repeats", "planning an epoch")
    disk = f"{record['disk_gb']:.2f} GB in {len(record['files'])} files"
    rows = [
        [name, f"{record[name]['seconds']:.0f} s", f"{record[name]['peak_gb']:.2f} GB", on_disk]
        for name, on_disk in zip(stages, (disk, "", ""), strict=True)
    ]
    yield from markdown([f"{record['pairs']:,} pairs", "time", "memory at most", "on disk"], rows)


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=36_000_000)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--tokens", type=int, default=25_000, help="target tokens of an update")
    parser.add_argument("--groups", type=int, default=8, help="groups of an update")
    parser.add_argument("--folder", type=Path, help="where there is room for the store")
    parser.add_argument("--out", type=Path)
    said = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="scale-", dir=said.folder))
    try:
        found = record(folder, said.pairs, said.vocabulary, said.tokens, said.groups)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = json.dumps(found, indent=2)
    if said.out is not None:
        said.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
