"""Let one process at a time work in a folder that several share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import seqx


@contextlib.contextmanager
def lock_folder(folder: Path, progress: seqx.ProgressReporter) -> Iterator[None]:
    """Lock a folder, which is created if it is missing, and wait while another process holds the lock.

    Where the file system has no locks, the block runs all the same: checksums find what two processes spoil.

    Raises:
        UserError: the folder cannot be created
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            message = f"waiting for another process that fetches into {folder}"
            stack.enter_context(seqx.file_lock(folder / ".lock", on_wait=lambda: progress(message, None)))
        except OSError as error:
            raise seqx.unwritable(folder, error) from error
        yield
