"""Folders that are addressed by what they were made from, and appear all at once or not at all."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from seqx.errors import UserError, unwritable
from seqx.interfaces.text import ProgressReporter
from seqx.runtime import main_guard
from seqx.storage.atomic import fsync
from seqx.storage.locks import file_lock

MADE_FROM = "made_from.json"
"""In each folder of the cache: what it was made from, for people. No part of what was made."""


def default_cache() -> Path:
    """The cache shared by all runs: the variable SEQX_CACHE, else ~/.cache/seqx.

    Raises:
        UserError: it is not known where that is
    """
    named = os.environ.get("SEQX_CACHE") or "~/.cache/seqx"
    try:
        return Path(named).expanduser()
    except RuntimeError:
        raise UserError(
            f"{named}: it is not known where this is; set the variable SEQX_CACHE to a whole path"
        ) from None


def address(parts: Mapping[str, object]) -> str:
    """A name for what is made from `parts` (plain values): equal parts, equal names, in any order of keys."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fingerprint(folder: Path) -> str:
    """The SHA-256 of the files in a folder, with their names, wherever the folder lies."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MADE_FROM):
        digest.update(
            f"{file.relative_to(folder)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def made(
    parts: Mapping[str, object], cache: Path, make: Callable[[Path], None], progress: ProgressReporter
) -> Path:
    """The folder in `cache` that `make` fills, given an empty one, from `parts`, unless it is there.

    Several processes may ask for the same folder: one makes it, the others wait for it.

    Raises:
        UserError: the cache cannot be written
    """
    folder = cache / address(parts)
    if folder.is_dir():
        return folder
    main_guard.refuse()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        message = "waiting for another process that makes the same"
        with file_lock(cache / f".{folder.name}.lock", on_wait=lambda: progress(message, None)) as is_locked:
            if is_locked:
                for left in cache.glob(f".{folder.name}.tmp-*"):
                    shutil.rmtree(left, ignore_errors=True)
            if not folder.is_dir():
                _make(folder, parts, make)
    except OSError as error:
        at = Path(error.filename or cache)
        if not at.is_relative_to(cache) and at not in cache.parents:
            raise
        raise unwritable(
            at, error, "the cache must be writable (the variable SEQX_CACHE names another place)"
        ) from error
    return folder


def _make(folder: Path, parts: Mapping[str, object], make: Callable[[Path], None]) -> None:
    unfinished = folder.with_name(f".{folder.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    unfinished.mkdir()
    try:
        make(unfinished)
        text = json.dumps(parts, indent=2, sort_keys=True, ensure_ascii=False)
        (unfinished / MADE_FROM).write_text(text + "\n", encoding="utf-8")
        for path in (*unfinished.rglob("*"), unfinished):
            fsync(path)
        try:
            unfinished.rename(folder)
        except OSError:
            # On a file system without locks somebody else may have been first; theirs is as good.
            if not folder.is_dir():
                raise
        fsync(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
