"""One process at a time where several share a folder."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import seqx


@contextlib.contextmanager
def alone(folder: Path, progress: seqx.Progress) -> Iterator[None]:
    """Work in `folder` while no other process does; where the file system has no locks, work all the same.

    Raises:
        UserError: the folder cannot be made
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise seqx.unwritable(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that fetches into {folder}", None)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            yield  # sums are checked in any case
            return
        yield
