"""Texts about plugins and recipes that are stored in the cache, because importing torch takes seconds."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import click

from seqx import __version__
from seqx.errors import UserError
from seqx.plugin.installed import PLUGIN_GROUP, entry_points
from seqx.storage.atomic import write_atomically
from seqx.storage.cache_folder import default_cache

_KEPT = 20  # stored texts; older ones are removed


def from_cache(name: str, files: Iterable[Path], create: Callable[[], tuple[Any, bool]]) -> Any:
    """Return plain values from the cache; create them if they are missing, or if a plugin or file changed.

    Args:
        name: the name of the values
        files: files that the values depend on, besides the installed plugins
        create: returns the values, and true if they may be stored

    Returns:
        the values; if they were stored, as they are read from JSON
    """
    try:
        file = default_cache() / "listings" / f"{name}-{_key(files)}.json"
    except (OSError, ValueError, UserError):
        return create()[0]
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        if sys.stdout.isatty():  # otherwise nobody waits for the listing, such as during an installation
            click.echo(f"{name}: reading plugins; the result is stored for the next call", err=True)
        values, may_be_stored = create()
    if may_be_stored:
        _store(file, values)
    return values


def _store(file: Path, values: Any) -> None:
    """Write values, and remove the oldest files; do nothing if the cache cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(values))
        stored_files = sorted(file.parent.glob("*.json"), key=os.path.getmtime)
        for old in stored_files[:-_KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, UserError):
        return


def _key(files: Iterable[Path]) -> str:
    """Return a digest of the times of all Python files of seqx and plugins, of `files`, and of the machine.

    Raises:
        OSError: a file cannot be read
        ValueError: a plugin has no files
    """
    packages = {"seqx", *(entry.module.partition(".")[0] for entry in entry_points(group=PLUGIN_GROUP))}
    parts: list[object] = [os.cpu_count(), os.environ.get("OMP_NUM_THREADS")]
    parts += [__version__, platform.node(), platform.python_version()]
    for package in sorted(packages):
        spec = PathFinder.find_spec(package)
        if spec is None or spec.origin is None:
            raise ValueError(package)
        folder = Path(spec.origin).parent
        sources = sorted(folder.rglob("*.py")) if spec.submodule_search_locations else [Path(spec.origin)]
        parts += [(str(path), path.stat().st_mtime_ns) for path in sources]
    parts += [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
