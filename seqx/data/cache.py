"""The cache of corpora, vocabularies and prepared data. The name of a folder is a digest of its inputs."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from seqx.errors import unwritable
from seqx.interfaces.text import ProgressReporter
from seqx.runtime import main_guard
from seqx.storage.atomic import fsync, fsync_folder, incomplete
from seqx.storage.locks import file_lock
from seqx.storage.manifest import sha256

MADE_FROM = "made_from.json"
"""The file in each folder of the cache that describes the inputs of the folder, for people."""


def cache_key(parts: Mapping[str, object]) -> str:
    """Return a digest of plain values that does not depend on the order of keys."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 of the names and contents of all files in a folder except `MADE_FROM`."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MADE_FROM):
        digest.update(f"{file.relative_to(folder)} {sha256(file)}\n".encode())
    return digest.hexdigest()


def get_or_create(
    parts: Mapping[str, object], cache: Path, create: Callable[[Path], None], progress: ProgressReporter
) -> Path:
    """Return the folder of the cache for these inputs; create it if it is missing.

    If several processes ask for the same folder, one creates it and the others wait.

    Args:
        parts: all inputs that determine the content, as plain values
        cache: the folder of the cache
        create: writes the content into an empty folder
        progress: called with a message before waiting for another process

    Raises:
        UserError: the cache cannot be written
    """
    folder = cache / cache_key(parts)
    if folder.is_dir():
        return folder
    main_guard.exit_if_trial_worker()
    message = "waiting for another process that prepares the same data"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = cache / f".{folder.name}.lock"
        with file_lock(lock, on_wait=lambda: progress(message, None)):
            if not folder.is_dir():
                _create(folder, parts, create)
    except OSError as error:
        path = Path(error.filename or cache)
        if not path.is_relative_to(cache) and path not in cache.parents:
            raise
        advice = "make the cache writable, or set the environment variable SEQX_CACHE to another folder"
        raise unwritable(path, error, advice) from error
    return folder


def _create(folder: Path, parts: Mapping[str, object], create: Callable[[Path], None]) -> None:
    with incomplete(folder) as new:
        create(new)
        text = json.dumps(parts, indent=2, sort_keys=True, ensure_ascii=False)
        (new / MADE_FROM).write_text(text + "\n", encoding="utf-8")
        fsync_folder(new)
        try:
            new.rename(folder)
        except OSError:
            # Without locks, another process may have created an equal folder meanwhile.
            if not folder.is_dir():
                raise
        fsync(folder.parent)
