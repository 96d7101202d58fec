"""Encode rows or examples in several processes, in order."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, TypeVar

import torch

from seqx.errors import UserError
from seqx.plugin.local import LocalSource, local_sources
from seqx.runtime import main_guard
from seqx.runtime.signals import SIGNALS

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 3  # items for each process that are read ahead, so that the processes are always busy


def map_in_processes(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Iterator[Result]:
    """Yield the result of `work` for each item, in the order of the items.

    Args:
        work: the function; it is pickled only once
        items: its arguments, which are pickled one by one; only a few are read ahead
        processes: number of processes

    Raises:
        UserError: a process was killed, cannot load the task, or cannot import the main script
    """
    context = _context()
    main_guard.check(context)
    pool = ProcessPoolExecutor(processes, context, _start_process, (local_sources(), pickle.dumps(work)))
    pending: deque[Future[Any]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(_do_work, item))
            if len(pending) > _AHEAD * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a process that encodes examples was killed (perhaps it ran out of memory) or could not start; "
            "free memory and run the same command again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def can_start_processes() -> bool:
    """Return true if other processes can import the main script, see `main_guard`."""
    try:
        main_guard.check(_context())
    except UserError:
        return False
    return True


class _Worker(ForkServerProcess):
    """A process that is killed to end it, because it ignores signals."""

    def terminate(self) -> None:
        """Kill the process; the pool calls this after another one has died."""
        self.kill()


class _Context(ForkServerContext):
    """A context for processes that ignore signals.

    "fork" could deadlock because of torch's threads, and "spawn" would import torch in each process.
    """

    Process = _Worker


def _context() -> _Context:
    context = _Context()
    context.set_forkserver_preload(["seqx.data.encode"])
    return context


_work: Callable[[Any], Any]


def _start_process(local: Iterable[LocalSource], work: bytes) -> None:
    global _work  # noqa: PLW0603
    torch.set_num_threads(1)  # there are as many processes as CPUs
    for source in local:  # a new process cannot find the classes of local plugins by itself
        source.load()
    try:
        _work = pickle.loads(work)  # noqa: S301  it comes from this program
    except (AttributeError, ImportError) as error:
        _work = partial(_cannot_load, str(error))
    # Only the main process handles signals, which may be sent to all processes of a job; the others exit
    # after it. Until it stops, it needs further examples.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _cannot_load(reason: str, _: object) -> object:
    """Raise the error when the first item arrives; in `_start_process` it would print a traceback."""
    raise UserError(
        f"a process that encodes examples cannot load the task ({reason}); define the classes of its "
        "components in a module or a script that can be imported, or register them in a plugin"
    )


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do_work(item: Any) -> Any:
    return _work(item)
