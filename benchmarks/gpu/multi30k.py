"""The Multi30k recipe with three seeds, side by side on one device, through `seqx run`.

The recipe's schedule does not depend on its number of updates. So runs begin with all of them; those that
are not done when their time is over are stopped, and the same command, told to make no more updates than up
to the last checkpoint, averages and tests.
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
from benchmarks.gpu.cases import Case, Figures, Unfit
from benchmarks.gpu.recipes import TINY
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import read_json

ROOT = Path(__file__).parents[2]
FASTER = ("training.microbatch=65536", "training.save_minutes=null")
"""All of an update at once: the same updates in a quarter of the kernels."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    seeds: Sequence[int] = (1, 2, 3)
    steps: int = 8000
    testing: float = 60.0  # seconds for starting again, averaging and testing
    overrides: tuple[str, ...] = FASTER
    stop: int | None = None  # stopped after so many updates, and gone on with, even when there is time

    def enough(self, runs: Sequence["Seed"]) -> bool:
        """Whether all runs have come as far as they shall."""
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
    """All seeds at once: their number is what one figure needs."""
    size = DRY if dry_run else Size()
    yield Case(f"{len(size.seeds)} seeds", 5 if dry_run else 120, partial(measure, size, dry_run=dry_run))


def measure(size: Size, left: float, *, dry_run: bool) -> Figures:
    """Train, stop in time, test."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = _generated(folder / "data") if dry_run else _data()
        runs = [Seed(seed, folder, data, size.overrides) for seed in size.seeds]
        began = time.monotonic()
        end = began + left
        reached = _together(
            runs, [size.steps] * len(runs), lambda: time.monotonic() > end - size.testing or size.enough(runs)
        )
        if not all(reached):
            raise Unfit(f"no checkpoint was reached in {left - size.testing:.0f} s")
        if not all(run.finished() for run in runs):
            _together(runs, reached, lambda: time.monotonic() > end)
        late = [run.seed for run in runs if not run.finished()]
        if late:
            raise Unfit(f"testing after {reached} updates took more than {size.testing:.0f} s: seeds {late}")
        seeds = [run.figures() for run in runs]
    return {
        "updates": reached,
        "updates_of_the_recipe": size.steps,
        "overrides": list(size.overrides),
        "wall_seconds": time.monotonic() - began,
        "target_tokens_per_second": sum(seed["target_tokens_per_second"] for seed in seeds),
        "mean": {name: statistics.mean(seed["test"][name] for seed in seeds) for name in seeds[0]["test"]},
        "seeds": seeds,
    }


class Seed:
    """One run of the recipe."""

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
        """Train to so many updates, from where it was."""
        command = [sys.executable, "-m", "seqx", "run", str(ROOT / "recipes" / "multi30k_en_de.yaml")]
        command += [f"training.seed={self.seed}", f"training.steps={steps}", *self.overrides]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*command, "--folder", str(self.folder)],
                cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def reached(self) -> int:
        """The last update of which there is a checkpoint; 0: none."""
        return max(Checkpoints(self.folder / "checkpoints").steps(), default=0)

    def finished(self) -> bool:
        """Whether it is trained and tested."""
        return (self.folder / "model" / "scores.json").is_file()

    def figures(self) -> dict[str, Any]:
        """Speed and scores of the finished run."""
        done = Checkpoints(self.folder / "checkpoints").info(self.reached()).progress
        scores = read_json(self.folder / "model" / "scores.json")
        return {
            "seed": self.seed,
            "updates": done.step,
            "training_seconds": done.seconds,  # with validation and checkpoints
            "target_tokens_per_second": done.tokens / done.seconds,
            "wall_seconds": self.seconds,
            "test": {name: score["value"] for name, score in scores["test"].items()},
            "signatures": {name: score["signature"] for name, score in scores["test"].items()},
            "dev": {name: score["value"] for name, score in scores["dev"].items()},
        }


def _together(runs: Sequence[Seed], steps: Sequence[int], enough: Callable[[], bool]) -> list[int]:
    """Runs side by side, until they end or are stopped; the last checkpoint of each."""
    began = time.monotonic()
    working = {run: run.start(most) for run, most in zip(runs, steps, strict=True) if not run.finished()}
    try:
        while any(process.poll() is None for process in working.values()) and not enough():
            time.sleep(0.2)
    finally:
        codes = {run: process.poll() for run, process in working.items()}  # before they are stopped
        for process in working.values():
            process.terminate()
        for process in working.values():
            process.wait()
    for run, code in codes.items():
        run.seconds += time.monotonic() - began
        if code:
            raise RuntimeError(
                f"seed {run.seed}: exit code {code}\n{run.log.read_text(encoding='utf-8')[-1500:]}"
            )
    return [run.reached() for run in runs]


def _data() -> Path:
    for place in (os.environ.get("SEQX_DATA"), ROOT / ".carry"):
        if place and Path(place, "multi30k", "train.en.gz").is_file():
            return Path(place).resolve()
    raise Unfit("no data: carry multi30k in .carry/, or name the folder that holds it in SEQX_DATA")


def _generated(folder: Path) -> Path:
    """Files of the data's names, small."""
    place = folder / "multi30k"
    place.mkdir(parents=True)
    for split, pairs in (("train", 60), ("val", 4), ("test_2016_flickr", 4)):
        lines = list(corpus.sentences(np.random.default_rng(len(split)), pairs, mean=6))
        for side, lang in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in lines)
            (place / f"{split}.{lang}.gz").write_bytes(gzip.compress(text.encode()))
    return folder
