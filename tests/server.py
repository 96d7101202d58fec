"""Servers in forks of the process of the test."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.server import Server
from benchmarks.server import serving as serving_with
from tests.forked import Forked

__all__ = ["Server", "serving"]


def serving(
    *arguments: str | Path, before: Callable[[], None] = lambda: None
) -> AbstractContextManager[Server]:
    """Run `seqx serve` on a free port.

    Args:
        arguments: arguments of the command
        before: function that the fork calls first
    """
    return serving_with(*arguments, start=functools.partial(Forked, before=before))
