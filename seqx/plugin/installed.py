"""The entry points of installed plugins and of their commands, and the distributions that provide them."""

import functools
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, EntryPoint

from seqx_toolkit import DISTRIBUTION

PLUGIN_GROUP = "seqx"
COMMAND_GROUP = "seqx.commands"


def entry_points(*, group: str) -> Sequence[EntryPoint]:
    """Return the entry points of a group, `PLUGIN_GROUP` or `COMMAND_GROUP`.

    Those of seqx come first, so that another distribution cannot replace them. Reading the metadata of all
    installed distributions takes long. It is repeated only after a folder of `sys.path` has changed, which
    happens when a distribution is installed, upgraded or removed. A process does not notice that
    `entry_points.txt` was edited in place. After an upgrade it lists the new version, but still executes the
    modules that it had imported; start a new process to use the new ones.
    """
    return _read(group, tuple(map(_state, sys.path)))


def origin(entry: EntryPoint) -> tuple[str, str]:
    """Return the version and the name of the distribution that has an entry point."""
    return _version_and_name(entry.dist) if entry.dist else ("unknown", entry.value)


def entry_point_key(entry: EntryPoint) -> tuple[bool, str, str]:
    """Return a sort key: entry points of seqx come first, then the others by distribution and name."""
    source = origin(entry)[1] if entry.dist else ""
    return source != DISTRIBUTION, source, entry.name


@functools.lru_cache(maxsize=8)
def _read(group: str, _folders: object) -> Sequence[EntryPoint]:
    return tuple(sorted(importlib.metadata.entry_points(group=group), key=entry_point_key))


def _state(folder: str) -> tuple[int, ...] | None:
    """Return values that change when a folder gets or loses a file; None if it cannot be read."""
    try:
        stat = os.stat(folder or ".")  # noqa: PTH116  Path would take longer than the call
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns


@functools.lru_cache(maxsize=32)
def _version_and_name(dist: Distribution) -> tuple[str, str]:
    """Return version and name from the cache, because `dist` reads and parses a file at each access."""
    return dist.version, dist.name
