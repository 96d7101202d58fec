"""Locks between processes that work in the same folder."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from seqx.errors import UserError, unwritable


@contextmanager
def file_lock(file: Path, *, on_wait: Callable[[], object] | None = None) -> Iterator[bool]:
    """Hold an exclusive lock on a file, which is created if it is missing.

    The lock ends with the block, or with the process.

    Args:
        file: the lock file, which is not removed afterwards
        on_wait: called before waiting for another process; None: do not wait

    Yields:
        true if this process holds the lock; false if the file system does not support locks

    Raises:
        BlockingIOError: another process holds the lock, and `on_wait` is None
        OSError: the file cannot be opened
    """
    with file.open("a", encoding="utf-8") as stream:
        yield _acquire(stream, on_wait)


@contextmanager
def folder_lock(
    folder: Path, command: str, *, on_conflict: Callable[[], object] = lambda: None
) -> Iterator[int]:
    """Create a folder, and lock it in the block; the option --folder of a command names it.

    A process that inherits the file descriptor (`pass_fds` of `subprocess`) keeps the lock until it ends,
    even if this process is killed.

    Args:
        folder: the folder; its file `.lock` is locked
        command: the command that uses the folder, such as "run"
        on_conflict: called before the error if another process uses the folder

    Yields:
        the descriptor of the locked file `.lock`, which may be written, too

    Raises:
        UserError: another process uses the folder, or it cannot be written or locked
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context((folder / ".lock").open("a", encoding="utf-8"))
            is_locked = _acquire(stream, None)
        except BlockingIOError:
            on_conflict()
            raise UserError(
                f"{folder}: another {command} uses this folder; wait for it, or choose another folder "
                "(--folder)"
            ) from None
        except OSError as error:
            raise unwritable(folder, error, "choose another folder (--folder)") from None
        if not is_locked:
            raise UserError(
                f"{folder}: this file system does not support locks; choose another folder (--folder)"
            )
        yield stream.fileno()


def _acquire(stream: IO[str], on_wait: Callable[[], object] | None) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if on_wait is None:
            raise
        on_wait()
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError:
        return False
    return True
