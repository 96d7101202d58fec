"""The Multi30k recipe with three seeds at the same time on one device, with `seqx run`.

The runs start with the number of updates of the recipe. Runs that are not finished in time are stopped. Then
the same command with `training.steps` set to the last checkpoint averages the checkpoints and tests. This is
possible because the schedule of the recipe does not depend on the number of updates.
"""

import gzip
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import corpus
from benchmarks.gpu.cases import Case, Measurements, SkippedCase
from benchmarks.gpu.recipes import TINY
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import read_json

ROOT = Path(__file__).parents[2]
FASTER = ("training.microbatch=65536", "training.save_minutes=null")
"""One microbatch per update, which needs a quarter of the kernels for the same updates."""


@dataclass(frozen=True)
class Size:
    """Sizes of the measurement."""

    seeds: Sequence[int] = (1, 2, 3)
    steps: int = 8000
    testing: float = 60.0  # seconds for resuming, averaging and testing
    overrides: tuple[str, ...] = FASTER
    stop: int | None = None  # updates after which runs are stopped and resumed in any case

    def should_stop(self, runs: Sequence["Seed"]) -> bool:
        """Return true if all runs have reached the update `stop`."""
        return self.stop is not None and all(run.reached() >= self.stop for run in runs)


DRY = Size(
    seeds=(1,),
    stop=2,
    testing=10.0,
    overrides=(
        *FASTER, *TINY, "task.tokenizer.size=320", "training.tokens=200", "training.save_every=1",
        "training.average=2", "search.extra=2", "search.size=2",
    ),
)  # fmt: skip


def cases(*, dry_run: bool) -> Iterator[Case]:
    """Yield one case for all seeds."""
    size = DRY if dry_run else Size()
    yield Case(f"{len(size.seeds)} seeds", 5 if dry_run else 120, partial(measure, size, dry_run=dry_run))


def measure(size: Size, left: float, *, dry_run: bool) -> Measurements:
    """Train until the time is over, then average and test."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = _generated(folder / "data") if dry_run else _data()
        runs = [Seed(seed, folder, data, size.overrides) for seed in size.seeds]
        start_time = time.monotonic()
        end = start_time + left
        reached = _run_together(
            runs,
            [size.steps] * len(runs),
            lambda: time.monotonic() > end - size.testing or size.should_stop(runs),
        )
        if not all(reached):
            raise SkippedCase(f"no checkpoint after {left - size.testing:.0f} s")
        if not all(run.finished() for run in runs):
            _run_together(runs, reached, lambda: time.monotonic() > end)
        unfinished = [run.seed for run in runs if not run.finished()]
        if unfinished:
            raise SkippedCase(
                f"testing after {reached} updates took more than {size.testing:.0f} s: seeds {unfinished}"
            )
        seeds = [run.figures() for run in runs]
    return {
        "updates": reached,
        "updates_of_the_recipe": size.steps,
        "overrides": list(size.overrides),
        "wall_seconds": time.monotonic() - start_time,
        "target_tokens_per_second": sum(seed["target_tokens_per_second"] for seed in seeds),
        "mean": {name: statistics.mean(seed["test"][name] for seed in seeds) for name in seeds[0]["test"]},
        "seeds": seeds,
    }


class Seed:
    """A run of the recipe with one seed."""

    def __init__(self, seed: int, folder: Path, data: Path, overrides: Sequence[str]) -> None:
        self.seed = seed
        self.folder = folder / f"seed-{seed}"
        self.log = folder / f"seed-{seed}.log"
        self.overrides = overrides
        threads = str(max(1, len(os.sched_getaffinity(0)) // 4))
        self.environment = {"OMP_NUM_THREADS": threads, **os.environ}
        self.environment |= {"SEQX_DATA": str(data), "SEQX_CACHE": str(folder / "cache")}
        self.seconds = 0.0

    def start(self, steps: int) -> subprocess.Popen[bytes]:
        """Start or resume training up to `steps` updates."""
        command = [sys.executable, "-m", "seqx", "run", str(ROOT / "recipes" / "multi30k_en_de.yaml")]
        command += [f"training.seed={self.seed}", f"training.steps={steps}", *self.overrides]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*command, "--folder", str(self.folder)],
                cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def reached(self) -> int:
        """Return the update of the last checkpoint; 0 if there is none."""
        return max(Checkpoints(self.folder / "checkpoints").steps(), default=0)

    def finished(self) -> bool:
        """Return true if the run is trained and tested."""
        return (self.folder / "model" / "scores.json").is_file()

    def figures(self) -> dict[str, Any]:
        """Return the speed and the scores of the finished run."""
        progress = Checkpoints(self.folder / "checkpoints").info(self.reached()).progress
        scores = read_json(self.folder / "model" / "scores.json")
        return {
            "seed": self.seed,
            "updates": progress.step,
            "training_seconds": progress.seconds,  # including validation and checkpoints
            "target_tokens_per_second": progress.tokens / progress.seconds,
            "wall_seconds": self.seconds,
            "test": {name: score["value"] for name, score in scores["test"].items()},
            "signatures": {name: score["signature"] for name, score in scores["test"].items()},
            "dev": {name: score["value"] for name, score in scores["dev"].items()},
        }


def _run_together(runs: Sequence[Seed], steps: Sequence[int], should_stop: Callable[[], bool]) -> list[int]:
    """Run all seeds at the same time until they end or should stop; return the last checkpoint of each."""
    start_time = time.monotonic()
    processes = {run: run.start(count) for run, count in zip(runs, steps, strict=True) if not run.finished()}
    try:
        while any(process.poll() is None for process in processes.values()) and not should_stop():
            time.sleep(0.2)
    finally:
        codes = {run: process.poll() for run, process in processes.items()}  # before the runs are stopped
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait()
    for run, code in codes.items():
        run.seconds += time.monotonic() - start_time
        if code:
            raise RuntimeError(
                f"seed {run.seed}: exit code {code}\n{run.log.read_text(encoding='utf-8')[-1500:]}"
            )
    return [run.reached() for run in runs]


def _data() -> Path:
    """Return the folder that contains multi30k."""
    for folder in (os.environ.get("SEQX_DATA"), ROOT / ".carry"):
        if folder and Path(folder, "multi30k", "train.en.gz").is_file():
            return Path(folder).resolve()
    raise SkippedCase(
        "no data: copy multi30k into .carry/, or set SEQX_DATA to the folder that contains multi30k"
    )


def _generated(folder: Path) -> Path:
    """Write small generated files with the names of the data."""
    target = folder / "multi30k"
    target.mkdir(parents=True)
    for split, pairs in (("train", 60), ("val", 4), ("test_2016_flickr", 4)):
        lines = list(corpus.sentences(np.random.default_rng(len(split)), pairs, mean=6))
        for side, lang in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in lines)
            (target / f"{split}.{lang}.gz").write_bytes(gzip.compress(text.encode()))
    return folder
