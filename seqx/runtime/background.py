"""Run work in daemon threads, so that the main thread can handle signals."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

_NAME = "seqx-interruptible"
_POLL_SECONDS = 0.1
_JOIN_SECONDS = 0.2


def in_thread(work: Callable[[], T], name: str | None = None) -> "Future[T]":
    """Run `work` in a daemon thread, which does not keep the process alive; return a future."""
    future = Future[T]()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  `Future.result` raises it
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def interruptible_call(work: Callable[[], T]) -> T:
    """Run a blocking C call in a thread, so that the main thread can handle signals meanwhile.

    If an exception is raised in the main thread, such as `Stopped`, the call is abandoned: it continues in
    its thread, and its result is lost. See `has_abandoned_threads`.
    """
    future = in_thread(work, _NAME)
    while not future.done():
        wait([future], _POLL_SECONDS)
    return future.result()


def has_abandoned_threads() -> bool:
    """Return true if an abandoned call is still running; the interpreter may crash if it exits normally."""
    threads = [thread for thread in threading.enumerate() if thread.name == _NAME]
    for thread in threads:
        thread.join(_JOIN_SECONDS)
    return any(thread.is_alive() for thread in threads)
