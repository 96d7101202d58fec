"""Time and memory of preparing a large corpus: writing prepared data, finding duplicates, planning an epoch.

    python -m benchmarks.scale --pairs 36000000 --out scale.json

This uses one process, one thread and generated ids. Memory is the peak of the resident memory during a stage
(VmHWM), including Python, torch and resident pages of memory-mapped files. Hashes of rows are simulated by 64
random bits; one pair in fifty is a duplicate.
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
from benchmarks.paths import input_folder, output_file
from benchmarks.provenance import provenance
from seqx import markdown_table
from seqx.data.encode import first_occurrence_mask
from seqx.data.plan import plan

DUPLICATE_EVERY = 50
"""One in this many pairs is a duplicate."""


def measure(stage: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return the result of a stage, its time in seconds and its peak memory in GB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # reset the peak
    start_time = time.perf_counter()
    result = stage()
    seconds = time.perf_counter() - start_time
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return result, {"seconds": round(seconds, 2), "peak_gb": round(int(peak.split()[1]) / 1e6, 3)}


def record(folder: Path, pairs: int, vocabulary: int, tokens: int, groups: int) -> dict[str, Any]:
    """Run all stages; return the measurements."""
    examples, writing = measure(partial(store, folder, pairs=pairs, vocabulary=vocabulary))
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    hashes = np.random.default_rng(1).integers(0, 2**64, pairs, np.uint64)
    hashes[DUPLICATE_EVERY - 1 :: DUPLICATE_EVERY] = hashes[::DUPLICATE_EVERY][: pairs // DUPLICATE_EVERY]
    keep, repeats = measure(partial(first_occurrence_mask, hashes))
    lengths = {name: examples.lengths(name).astype(np.int32) for name in examples.columns}
    epoch, planning = measure(partial(plan, lengths, tokens=tokens, groups=groups, seed=1, epoch=0))
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
    """Yield a table with a row for each stage."""
    stages = ("writing", "finding repeats", "planning an epoch")
    disk = f"{record['disk_gb']:.2f} GB in {len(record['files'])} files"
    rows = [
        [name, f"{record[name]['seconds']:.0f} s", f"{record[name]['peak_gb']:.2f} GB", on_disk]
        for name, on_disk in zip(stages, (disk, "", ""), strict=True)
    ]
    yield from markdown_table([f"{record['pairs']:,} pairs", "time", "peak memory", "on disk"], rows)


def main() -> None:
    """Measure, print the record and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=36_000_000, help="number of sentence pairs")
    parser.add_argument("--vocabulary", type=int, default=32_000, help="number of symbols")
    parser.add_argument("--tokens", type=int, default=25_000, help="target tokens per update")
    parser.add_argument("--groups", type=int, default=8, help="length groups per update")
    parser.add_argument(
        "--folder", type=input_folder, help="parent of the temporary folder for the prepared data"
    )
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="scale-", dir=options.folder))
    try:
        measurements = record(folder, options.pairs, options.vocabulary, options.tokens, options.groups)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = json.dumps(measurements, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
