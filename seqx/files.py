"""Files that are either whole or not there."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from seqx.errors import UserError


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into; takes the place of `folder` when the block ends, vanishes when it fails.

    Raises:
        UserError: there is no room, or no permission
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from None
    try:
        yield new
        new.chmod(0o755)
        for file in (*new.rglob("*"), new):
            sync(file)
        _replace(new, folder)
        sync(folder.parent)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}{_advice(error)}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def whole_file(file: Path, text: str) -> None:
    """Write a text file that is never seen half."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        sync(new)
        new.replace(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror or error}{_advice(error)}") from None
    finally:
        new.unlink(missing_ok=True)


def _advice(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "; make room, and give the same command again" if full else ""


def _replace(new: Path, folder: Path) -> None:
    """Folders cannot be replaced in one step when the old one holds something: move that aside first."""
    if not folder.exists():
        new.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        folder.rename(aside / "old")
        try:
            new.rename(folder)
        except OSError:
            (aside / "old").rename(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
