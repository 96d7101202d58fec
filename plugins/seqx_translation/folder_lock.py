"""The lock of a folder that several processes share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import seqx


@contextlib.contextmanager
def lock_folder(folder: Path, progress: seqx.ProgressReporter) -> Iterator[None]:
    """Lock a folder, which is created if needed; wait while another process holds the lock.

    On file systems without locks the block runs without a lock. Checksums then detect damage by concurrent
    processes.

    Raises:
        UserError: the folder cannot be created
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            message = f"waiting for another process that downloads to {folder}"
            stack.enter_context(seqx.file_lock(folder / ".lock", on_wait=lambda: progress(message, None)))
        except OSError as error:
            raise seqx.unwritable(folder, error) from error
        yield
