"""Prepare examples and vocabularies, with several processes and a cache."""

import itertools
import multiprocessing
import os
import pickle
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seqx import __version__
from seqx.data.cache import cache_key, default_cache, get_or_create
from seqx.data.encode import Block, LeakFinder, Overlap, RowEncoder, first_of_each
from seqx.data.store import FORMAT, Store, Writer
from seqx.errors import UserError
from seqx.interfaces.rows import Row
from seqx.interfaces.task import Task
from seqx.interfaces.text import ProgressReporter
from seqx.plugin.local import LocalSource, local_sources
from seqx.runtime import main_guard
from seqx.runtime.allocator import trim_heap
from seqx.runtime.background import interruptible_call
from seqx.runtime.cpu_threads import cpus

DUPLICATE = "duplicate"
"""The reason for dropping repeated rows."""

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
        progress: called with the number of rows done
        leaks: what to do with training rows of which a column occurs in a split of `against`
        against: the splits that training rows must not occur in
        text: keep the text as well as the tokens, so that each epoch can encode it again
        min_rows: minimum number of rows for which other processes are started

    Raises:
        UserError: all rows were dropped, a process was killed, or the task raised it
    """
    training = split == "train"
    parts = {
        "format": FORMAT,
        "seqx": __version__,
        "made": "examples",
        "task": settings,
        "identity": task.identity(),
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
        _write(folder, cache_key(parts), split, blocks, progress, unique=training and task.unique)

    return Store.open(get_or_create(parts, cache or default_cache(), create, progress))


def cached_vocabulary(
    task: Task,
    settings: Mapping[str, object],
    cache: Path | None = None,
    *,
    progress: ProgressReporter = no_progress,
) -> Path:
    """Return the folder of the task's vocabulary from the cache; train it first if it is missing.

    Args:
        task: the task, with fetched corpus; the caller passes the folder to `task.load`
        settings: all inputs of the vocabulary besides `task.identity()`, as plain values
        cache: the folder of the cache; None: the default
        progress: called with a description of the current step
    """
    parts = {
        "format": FORMAT,
        "seqx": __version__,  # another version may segment text in another way
        "made": "vocabulary",
        "task": settings,
        "identity": task.identity(),
    }

    def create(folder: Path) -> None:
        interruptible_call(lambda: task.learn(folder, progress))
        trim_heap()

    return get_or_create(parts, cache or default_cache(), create, progress)


def _write(
    folder: Path,
    identity: str,
    split: str,
    blocks: Iterable[Block],
    progress: ProgressReporter,
    *,
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
            progress(f"preparing {split}: {rows:,} rows", None)
        progress(f"prepared {split}: {rows:,} rows", None)
        keep = first_of_each(np.concatenate(hashes)) if unique else None
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
    yield from _encoded_by_processes(encoder, batches, processes) if use_processes else map(encoder, batches)


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, _ROWS_PER_BLOCK)):
        yield batch


def _encoded_by_processes(
    encoder: RowEncoder, batches: Iterator[list[Row]], processes: int
) -> Iterator[Block]:
    """Encode with several processes; read only as many rows ahead as keep the processes busy."""
    # "fork" could deadlock because of torch's threads, and "spawn" would import torch in each process.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seqx.data.encode"])
    main_guard.check(context)
    pool = ProcessPoolExecutor(processes, context, _start_process, (local_sources(), pickle.dumps(encoder)))
    pending: deque[Future[Block]] = deque()
    try:
        for batch in batches:
            pending.append(pool.submit(_encode, batch))
            if len(pending) > 3 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a preparation process was killed (perhaps it ran out of memory) or could not start; free memory "
            "and run the same command again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_encoder: Callable[[Sequence[Row]], Block]


def _start_process(local: Sequence[LocalSource], encoder: bytes) -> None:
    global _encoder  # noqa: PLW0603
    torch.set_num_threads(1)  # there are as many processes as CPUs
    for source in local:  # a new process cannot find the classes of local plugins by itself
        source.load()
    try:
        _encoder = pickle.loads(encoder)  # noqa: S301  it comes from this program
    except (AttributeError, ImportError) as error:
        _encoder = partial(_cannot_encode, str(error))
    # Only the main process handles interrupts; the others exit after it.
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _cannot_encode(reason: str, _: Sequence[Row]) -> Block:
    """Raise the error when the first rows arrive; in `_start_process` it would print a traceback."""
    raise UserError(
        f"a preparation process cannot load the task ({reason}); define the classes of its components in a "
        "module or a script that can be imported, or register them in a plugin"
    )


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode(rows: list[Row]) -> Block:
    return _encoder(rows)
