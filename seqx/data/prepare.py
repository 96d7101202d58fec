"""From a task's rows to a store, with several processes; and learning what the rows are encoded with."""

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
from seqx.data.cache import address, default_cache, made
from seqx.data.encode import Block, Encoder, Leaks, Row, Shared, first_of_each
from seqx.data.store import FORMAT, Store, Writer
from seqx.errors import UserError
from seqx.interfaces.text import ProgressReporter, Task
from seqx.plugin.loading import Source, sources
from seqx.runtime import main_guard
from seqx.runtime.allocator import trim_heap
from seqx.runtime.background import interruptible_call
from seqx.runtime.cpu_threads import cpus

DUPLICATE = "duplicate"
"""The reason under which repeated rows are dropped."""

_BLOCK = 1000  # rows that are handed to a process at once
_ALONE = 20_000  # rows that are done before other processes would have started


def quiet(_: str, __: float | None) -> None:
    """Tells nobody what is being done."""


def prepare(
    task: Task,
    split: str,
    settings: Mapping[str, object],
    cache: Path | None = None,
    *,
    processes: int | None = None,
    progress: ProgressReporter = quiet,
    leaks: Literal["report", "drop"] = "report",
    against: tuple[str, ...] = ("dev", "test"),
    text: bool = True,
    alone: int = _ALONE,
) -> Store:
    """The examples of a split, from the cache, or made and kept there.

    Training rows that `example` refuses are dropped, and so are exact repeats of a row (white space around
    its columns aside) unless the task repeats them on purpose; the store says how many, and why. It also says
    how many training rows it shares with each split in `against`: `{"dev": {"rows": 1, "sides": [3, 2]}}`,
    letters' case and white space aside.
    The result does not depend on `processes`.

    Args:
        task: fetched, and with its vocabulary loaded
        split: "train" is prepared for training; of all others every row is kept
        settings: what decides the examples besides `task.identity()`, as plain values
        cache: where stores are kept; None: the default cache
        processes: how many encode at once; None: as many as there are cores for this process
        progress: told how many rows are done
        leaks: whether rows that share a side with a split in `against` are only counted, or dropped
        against: the splits that training must not have seen
        text: keep the text beside the numbers, for encodings made again in each epoch
        alone: with fewer rows than this no process is started

    Raises:
        UserError: nothing is left to learn from, a process was killed, or the task's own
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

    def make(folder: Path) -> None:
        known = Leaks({other: task.rows(other) for other in against if training})
        encoder = Encoder(task=task, training=training, text=text, leaks=known, drop_leaks=leaks == "drop")
        blocks = _blocks(encoder, task.rows(split), processes or cpus(), alone)
        _write(folder, address(parts), split, blocks, progress, unique=training and task.unique)

    return Store.open(made(parts, cache or default_cache(), make, progress))


def learnt(
    task: Task,
    settings: Mapping[str, object],
    cache: Path | None = None,
    *,
    progress: ProgressReporter = quiet,
) -> Path:
    """The folder of what the task learns from its training rows, from the cache, or learnt and kept there.

    Args:
        task: fetched; it still has to `load` the folder
        settings: what decides the outcome besides `task.identity()`, as plain values
        cache: where it is kept; None: the default cache
        progress: told what is being done
    """
    parts = {
        "format": FORMAT,
        "seqx": __version__,  # what a component makes of text may change from one version to the next
        "made": "vocabulary",
        "task": settings,
        "identity": task.identity(),
    }

    def make(folder: Path) -> None:
        interruptible_call(lambda: task.learn(folder, progress))
        trim_heap()

    return made(parts, cache or default_cache(), make, progress)


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
    shared: dict[str, Shared] = {}
    try:
        for block in blocks:
            if len(block.hashes):
                writer.add(block.columns, block.texts)
            hashes.append(block.hashes)
            rows += block.rows
            dropped.update(block.dropped)
            for other, found in block.shared.items():
                shared.setdefault(other, Shared()).add(found)
            progress(f"preparing {split}: {rows:,} rows", None)
        progress(f"prepared {split}: {rows:,} rows", None)
        keep = first_of_each(np.concatenate(hashes)) if unique else None
        if keep is not None and not keep.all():
            dropped[DUPLICATE] += int((~keep).sum())
        if rows == sum(dropped.values()):
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
            raise UserError(
                f"{split}: none of {rows:,} rows is left ({reasons or 'it is empty'}); mend the corpus"
            )
        leaks = {other: asdict(found) for other, found in shared.items()}
        writer.finish(keep=keep, rows=rows, dropped=dropped, leaks=leaks, identity=identity)
    finally:
        writer.close()


def _blocks(encoder: Encoder, rows: Iterable[Row], processes: int, alone: int) -> Iterator[Block]:
    """Blocks in the order of the rows, encoded here, or elsewhere when there are many."""
    rows = iter(rows)
    first = list(itertools.islice(rows, alone)) if processes > 1 else []
    spread = processes > 1 and len(first) == alone
    batches = _batched(itertools.chain(first, rows))
    del first
    yield from _spread(encoder, batches, processes) if spread else map(encoder, batches)


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, _BLOCK)):
        yield batch


def _spread(encoder: Encoder, batches: Iterator[list[Row]], processes: int) -> Iterator[Block]:
    """Encode in several processes, with no more rows under way than keeps them busy."""
    # A fork of this process, where torch may have threads, could hang; a fresh one would import torch anew.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seqx.data.encode"])
    main_guard.check(context)
    pool = ProcessPoolExecutor(processes, context, _begin, (sources(), pickle.dumps(encoder)))
    under_way: deque[Future[Block]] = deque()
    try:
        for batch in batches:
            under_way.append(pool.submit(_encode, batch))
            if len(under_way) > 3 * processes:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a process that prepared examples was killed (perhaps for want of memory) or could not start; "
            "free memory, and give the same command again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_encoder: Callable[[Sequence[Row]], Block]


def _begin(local: Sequence[Source], encoder: bytes) -> None:
    global _encoder  # noqa: PLW0603
    torch.set_num_threads(1)  # there are as many processes as cores
    for source in local:  # a fresh process cannot find the classes of local plugins by itself
        source.load()
    try:
        _encoder = pickle.loads(encoder)  # noqa: S301  it comes from this program
    except (AttributeError, ImportError) as error:
        _encoder = partial(_cannot_encode, str(error))
    # The first process decides what an interrupt means, and none outlives it.
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _cannot_encode(why: str, _: Sequence[Row]) -> Block:
    """Raise the error with the first rows: an error in `_begin` would end the process with a traceback."""
    raise UserError(
        f"a process that prepares examples cannot load the task ({why}); define the classes of its "
        "components in a module or a script that can be imported, or register them in a plugin"
    )


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode(rows: list[Row]) -> Block:
    return _encoder(rows)
