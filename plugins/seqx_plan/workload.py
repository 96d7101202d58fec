"""The size of the updates and of the held-out splits of a recipe."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

import seqx

SAMPLED_UPDATES = 40
"""The number of updates of an epoch whose padded tokens are counted."""

MEAN_LENGTH, SPREAD = 28, 0.53
"""The mean tokens of an assumed example, and the standard deviation of their logarithm: those of
WMT's English and German sentences with 37,000 symbols."""

ASSUMED_EXAMPLES, ASSUMED_HELD_OUT = 100_000, 3000
"""The number of assumed examples, and of assumed rows of each held-out split."""


COUNTED_UPDATES, COUNTING_SECONDS = 1000, 3.0
"""The number of updates of a run whose shapes are counted, and the seconds that this may take."""

Shape = frozenset[tuple[str, tuple[int, ...]]]
"""The names and the shapes of the columns of a microbatch."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The sizes that determine the time of a run on one of its devices."""

    source: str  # a sentence about the data
    examples: int | None  # of the training set; None: unknown
    updates_per_epoch: int | None
    target_tokens: float  # mean per update, over all devices
    padded_tokens: float  # mean per update, of one device, over all columns
    microbatches: float  # mean per update, of one device
    dev_rows: int
    test_rows: int
    dev_read_seconds: float  # to read the rows of the split once
    test_read_seconds: float
    first_read_seconds: float  # that the first reading of both takes in addition: a corpus may generate text
    target_length: float  # mean tokens
    target_ratio: float  # target tokens for each source token
    data_bytes: int | None  # of prepared data


def read(trial: seqx.Trial, assumed_length: int | None, *, announce: bool) -> str:
    """Read the data of a trial, or assume them; return a sentence about them.

    Args:
        trial: the recipe
        assumed_length: mean tokens of assumed examples; None: read the text, if it is on this machine
        announce: print that the text is read
    """
    limit = trial.experiment.task.max_length
    if assumed_length is None and trial.has_text:
        if announce:
            click.echo("reading the training text, as the run would; --assume plans without it", err=True)
        trial.read_data()
        return "lengths are those of the training text"
    mean = assumed_length or (min(MEAN_LENGTH, limit) if limit else MEAN_LENGTH)
    if limit is not None and mean > limit:
        raise seqx.UserError(f"--assume {mean}: the task's max_length is {limit}; assume shorter examples")
    normal = np.random.default_rng(1).normal(np.log(mean) - SPREAD**2 / 2, SPREAD, ASSUMED_EXAMPLES)
    lengths = np.exp(normal).round().clip(1, limit).astype(np.int64)
    if limit is not None:
        lengths[0] = limit  # the largest shape that the recipe allows
    trial.assume_data(lengths)
    reason = "the text is not on this machine" if assumed_length is None else "--assume"
    sizes = ", ".join(f"{name} {size:,}" for name, size in trial.experiment.task.vocab_sizes.items())
    longest = "" if limit is None else f" and at most {limit}"
    return (
        f"assumed ({reason}): examples of {mean} tokens in the mean{longest} in each column, vocabularies of "
        f"the recipe ({sizes}), {ASSUMED_HELD_OUT:,} rows in each held-out split"
    )


def measure(trial: seqx.Trial, batches: Any, source: str) -> Workload:
    """Measure the updates of the first epoch."""
    plan, store, task = batches.plan(0), trial.store, trial.experiment.task
    assert store is not None, "the data are read or assumed"
    assumed = trial.is_assumed
    indices = np.unique(np.linspace(0, len(plan) - 1, SAMPLED_UPDATES).astype(int))
    microbatches = [m for i in indices for m in seqx.update_microbatches(batches, int(i))]
    lengths = {name: store.lengths(name) for name in store.columns}
    rows = {split: _count(trial, split) for split in ("dev", "test") if split in task.available}
    dev_rows, dev_seconds, dev_first = rows.get("dev", (0, 0.0, 0.0))
    test_rows, test_seconds, test_first = rows.get("test", (0, 0.0, 0.0))
    source_tokens = int(lengths["source"].sum()) if "source" in lengths else 0
    files = [] if assumed else [file for file in Path(store.folder).rglob("*") if file.is_file()]
    return Workload(
        source=source,
        examples=None if assumed else len(store),
        updates_per_epoch=None if assumed else len(plan),
        target_tokens=float(np.mean([plan.num_target_tokens(int(i)) for i in indices])),
        padded_tokens=sum(m.padded_tokens for m in microbatches) / len(indices),
        microbatches=len(microbatches) / len(indices),
        dev_rows=dev_rows,
        test_rows=test_rows,
        dev_read_seconds=dev_seconds,
        test_read_seconds=test_seconds,
        first_read_seconds=max(0.0, dev_first - dev_seconds) + max(0.0, test_first - test_seconds),
        target_length=float(lengths["target"].mean()),
        target_ratio=int(lengths["target"].sum()) / max(1, source_tokens),
        data_bytes=None if assumed else sum(file.stat().st_size for file in files),
    )


def _count(trial: seqx.Trial, split: str) -> tuple[int, float, float]:
    """Return the number of rows of a split, and the seconds to read them again and for the first time."""
    if trial.is_assumed:
        return ASSUMED_HELD_OUT, 0.0, 0.0
    times = [time.perf_counter()]
    for _ in range(2):
        rows = len(trial.experiment.task.read_split(split).rows)
        times.append(time.perf_counter())
    return rows, times[2] - times[1], times[1] - times[0]


def shape_of(microbatch: Any) -> Shape:
    """Return the shape of a microbatch."""
    columns = microbatch.batch.columns
    return frozenset((name, tuple(column.layout.keep.shape)) for name, column in columns.items())


def count_shapes(batches: Any, updates: int) -> int:
    """Return the number of different shapes of the microbatches in a number of updates.

    At most `COUNTED_UPDATES` updates are counted, for about `COUNTING_SECONDS`. If the run has more, the
    number may be too small.
    """
    shapes: set[Shape] = set()
    epoch = index = 0
    end = time.perf_counter() + COUNTING_SECONDS
    for _ in range(min(updates, COUNTED_UPDATES)):
        if index == len(batches.plan(epoch)):
            epoch, index = epoch + 1, 0
        shapes.update(map(shape_of, seqx.update_microbatches(batches, index, epoch)))
        index += 1
        if time.perf_counter() > end:
            break
    return len(shapes)


def largest_and_typical(batches: Any) -> tuple[list[Any], Any]:
    """Return the microbatches that need the most memory, and one of median size from the middle update."""
    middle = seqx.update_microbatches(batches, len(batches.plan(0)) // 2)
    middle.sort(key=lambda m: m.padded_tokens)
    return seqx.largest_microbatches(batches), middle[len(middle) // 2]


def device_of(name: str) -> torch.device:
    """Return the device of this machine that computes the probe."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
