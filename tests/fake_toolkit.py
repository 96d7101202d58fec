"""An adapter of `benchmarks.peers` whose updates and translations take a fixed time."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.sizes import Pairs, Size
from benchmarks.peers.worker import Decode, Update


def versions() -> Mapping[str, str]:
    """Return a version, and an environment variable that a contestant may set."""
    return {"fake": "1", "variable": os.environ.get("MALLOC_MMAP_MAX_", "")}


def training(size: Size, vocabulary: int, threads: int) -> Update:
    """Return an update that takes a millisecond and prints, as libraries do."""

    def update(pairs: Pairs) -> float:
        sys.stdout.write("an update\n")
        time.sleep(0.001)
        return float(pairs.target.max())

    return update


def decoding(folder: Path, *, beam: int, threads: int, extra: int, seconds: float = 0.0) -> Decode:
    """Return a translator that repeats its input; it fails if there is no folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing")

    def translate(lines: Sequence[str]) -> list[str]:
        time.sleep(seconds)
        return [*lines]

    return translate
