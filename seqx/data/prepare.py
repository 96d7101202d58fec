"""Prepare examples and vocabularies, with several processes and a cache."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import TypeAdapter

from seqx import __version__
from seqx.data.cache import cache_key, fingerprint, get_or_create
from seqx.data.encode import Block, LeakFinder, Overlap, RowEncoder, first_occurrence_mask
from seqx.data.processes import map_in_processes
from seqx.data.store import FORMAT, Store, Writer
from seqx.errors import DamagedError, UserError
from seqx.interfaces.rows import Row
from seqx.interfaces.task import Task
from seqx.interfaces.text import ProgressReporter
from seqx.runtime.allocator import trim_heap
from seqx.runtime.background import interruptible_call
from seqx.runtime.cpu_threads import cpus
from seqx.storage.cache_folder import default_cache
from seqx.storage.json_format import read_json_as

DUPLICATE = "duplicate"
"""The reason for dropping repeated rows."""

WARNINGS = "warnings.json"
"""The file in the cache with the warnings about the training text."""

_WARNINGS = TypeAdapter(list[str])
_MAX_WARNINGS_BYTES = 1 << 24

_ROWS_PER_BLOCK = 1000
_MIN_ROWS_FOR_PROCESSES = 20_000  # with fewer rows, one process is done before others have started


def no_progress(_: str, __: float | None) -> None:
    """Report no progress."""


def prepare(
    task: Task,
    split: str,
    settings: Mapping[str, object],
    cache: Path | None = None,
    *,
    processes: int | None = None,
    progress: ProgressReporter = no_progress,
    leaks: Literal["report", "drop"] = "report",
    against: tuple[str, ...] = ("dev", "test"),
    text: bool = True,
    min_rows: int = _MIN_ROWS_FOR_PROCESSES,
) -> Store:
    """Return the examples of a split from the cache; encode them first if they are missing.

    Training rows that the task rejects are dropped. Training rows that repeat an earlier row, apart from
    white space around columns, are dropped if `task.unique` is true. The store records the number of dropped
    rows by reason. It also records how many training rows occur in each split of `against`, ignoring case and
    white space:
    `{"dev": {"rows": 1, "sides": [3, 2]}}`, see `Overlap`. The result does not depend on `processes`.

    Args:
        task: the task, with fetched corpus and loaded vocabulary
        split: the name of the split; rows are dropped only from "train"
        settings: all inputs of the examples besides `task.identity()`, as plain values
        cache: the folder of the cache; None: the default
        processes: number of processes that encode; None: one for each CPU of this process
        progress: called with the number and the fraction of the rows done
        leaks: what to do with training rows of which a column occurs in a split of `against`
        against: the splits that training rows must not occur in
        text: keep the text as well as the tokens, so that each epoch can encode it again
        min_rows: minimum number of rows for which other processes are started

    Raises:
        UserError: all rows were dropped, a process was killed, or the task raised it
    """
    training = split == "train"
    parts = {
        **_common_parts(task, settings, "examples"),
        "split": split,
        "leaks": leaks,
        "against": list(against),
        "text": text,
    }

    def create(folder: Path) -> None:
        finder = LeakFinder({other: task.rows(other) for other in against if training})
        encoder = RowEncoder(
            task=task, training=training, text=text, leaks=finder, drop_leaks=leaks == "drop"
        )
        blocks = _blocks(encoder, task.rows(split), processes or cpus(), min_rows)
        num_rows, unique = task.num_rows(split), training and task.unique
        _write(folder, cache_key(parts), split, blocks, progress, num_rows=num_rows, unique=unique)

    return Store.open(get_or_create(parts, cache or default_cache(), create, progress))


def cached_vocabulary(
    task: Task,
    settings: Mapping[str, object],
    cache: Path | None = None,
    *,
    progress: ProgressReporter = no_progress,
    extended: Path | None = None,
) -> Path:
    """Return the folder of the task's vocabulary from the cache; train it first if it is missing.

    Args:
        task: the task, with fetched corpus; the caller passes the folder to `task.load`
        settings: all inputs of the vocabulary besides `task.identity()`, as plain values
        cache: the folder of the cache; None: the default
        progress: called with a description of the current step
        extended: the folder of a vocabulary that is extended instead
    """
    parts = _common_parts(task, settings, "vocabulary")
    if extended is not None:
        parts["extended"] = fingerprint(extended)

    def create(folder: Path) -> None:
        learn = partial(task.learn, folder) if extended is None else partial(task.extend, extended, folder)
        interruptible_call(lambda: learn(progress))
        trim_heap()

    return get_or_create(parts, cache or default_cache(), create, progress)


def cached_training_warnings(
    task: Task,
    settings: Mapping[str, object],
    cache: Path | None = None,
    *,
    progress: ProgressReporter = no_progress,
) -> Sequence[str]:
    """Return `task.training_warnings()` from the cache; compute them first if they are missing.

    Args:
        task: the task, with fetched corpus and loaded vocabulary
        settings: all inputs of the warnings besides `task.identity()`, as plain values
        cache: the folder of the cache; None: the default
        progress: called with a description of the current step

    Raises:
        DamagedError: the file in the cache is missing or damaged
    """

    def create(folder: Path) -> None:
        progress("checking the training text", None)
        (folder / WARNINGS).write_text(json.dumps(list(task.training_warnings())), encoding="utf-8")

    parts = _common_parts(task, settings, "training warnings")
    folder = get_or_create(parts, cache or default_cache(), create, progress)
    try:
        return read_json_as(_WARNINGS, folder / WARNINGS, _MAX_WARNINGS_BYTES)
    except DamagedError as error:
        raise DamagedError(f"{error}; delete this folder; the text will be checked again") from None


def _common_parts(task: Task, settings: Mapping[str, object], made: str) -> dict[str, object]:
    """Return the inputs that all entries of the cache depend on."""
    return {
        "format": FORMAT,
        "seqx": __version__,  # another version may segment text in another way
        "made": made,
        "task": settings,
        "identity": task.identity(),
    }


def _write(
    folder: Path,
    identity: str,
    split: str,
    blocks: Iterable[Block],
    progress: ProgressReporter,
    *,
    num_rows: int | None,
    unique: bool,
) -> None:
    writer = Writer(folder)
    rows, dropped, hashes = 0, Counter[str](), [np.zeros(0, np.uint64)]
    overlaps: dict[str, Overlap] = {}
    try:
        for block in blocks:
            if len(block.hashes):
                writer.add(block.columns, block.texts)
            hashes.append(block.hashes)
            rows += block.rows
            dropped.update(block.dropped)
            for other, overlap in block.overlaps.items():
                overlaps.setdefault(other, Overlap()).add(overlap)
            fraction = rows / num_rows if num_rows and rows < num_rows else None
            progress(f"preparing {split}: {rows:,} rows", fraction)
        progress(f"prepared {split}: {rows:,} rows", None)
        keep = first_occurrence_mask(np.concatenate(hashes)) if unique else None
        if keep is not None and not keep.all():
            dropped[DUPLICATE] += int((~keep).sum())
        if rows == sum(dropped.values()):
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
            cause = f"dropped: {reasons}" if reasons else "it is empty"
            raise UserError(f"{split}: none of {rows:,} rows is left ({cause}); check the corpus")
        leaks = {other: asdict(overlap) for other, overlap in overlaps.items()}
        writer.finish(keep=keep, rows=rows, dropped=dropped, leaks=leaks, identity=identity)
    finally:
        writer.close()


def _blocks(encoder: RowEncoder, rows: Iterable[Row], processes: int, min_rows: int) -> Iterator[Block]:
    """Yield encoded blocks in the order of the rows; use other processes if there are many rows."""
    rows = iter(rows)
    first = list(itertools.islice(rows, min_rows)) if processes > 1 else []
    use_processes = processes > 1 and len(first) == min_rows
    batches = _batched(itertools.chain(first, rows))
    del first
    yield from map_in_processes(encoder, batches, processes) if use_processes else map(encoder, batches)


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, _ROWS_PER_BLOCK)):
        yield batch
