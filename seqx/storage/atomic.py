"""Write files and folders atomically, so that they are complete or absent.

Until a file or folder is complete, its name begins with a dot and ends with `.part`, and the process that
writes it holds a lock on it. A killed process leaves such names behind. The next process that writes the same
file or folder removes them. `remove_leftovers` removes all of them, and restores folders that were not yet
replaced.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from seqx.errors import DamagedError, UserError, unwritable

_PART = ".part"
_REPLACED = ".replaced.part"  # holds the old version of a folder while it is replaced


def check_name(folder: Path) -> None:
    """Refuse a folder whose name is not UTF-8, because safetensors cannot save weights in it.

    Raises:
        UserError: the name of the folder is not UTF-8
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{folder}: the name of a folder with weights must be UTF-8; rename the folder"
        ) from None


def check_links(folder: Path, *names: str) -> None:
    """Refuse links that lead out of a folder of unknown origin, without opening their targets.

    Args:
        folder: the folder, which may itself be reached through a link
        names: the entries to check; without names, all entries

    Raises:
        DamagedError: a link leads out of the folder, or nowhere
    """
    root = Path(os.path.realpath(folder))
    for name in names:
        _check_link(root / name, root, folder)
    for top in [root / name for name in names] or [root]:
        for parent, folders, files in os.walk(top):  # os.walk follows no links below `top`
            for name in (*folders, *files):
                _check_link(Path(parent, name), root, folder)


def _check_link(entry: Path, root: Path, folder: Path) -> None:
    target = Path(os.path.realpath(entry))  # still a link if the links form a circle
    if entry.is_symlink() and (target.is_symlink() or not target.is_relative_to(root) or not target.exists()):
        raise DamagedError(
            f"{folder / entry.relative_to(root)}: is a link that leads out of the folder or nowhere; if you "
            "trust its target, replace the link by a copy"
        )


@contextlib.contextmanager
def atomic_folder(folder: Path, *, check: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` when the block ends, and is removed when it fails.

    Args:
        folder: the final path
        check: called with the new folder after it was written to the disk, before it replaces the old one

    Raises:
        UserError: the folder cannot be written
    """
    try:
        _make_folders(folder.parent)
        _remove_abandoned(folder)
        new, descriptor = _locked_part(
            lambda: Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=_PART, dir=folder.parent))
        )
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        yield new
        new.chmod(0o755)
        for file in (*new.rglob("*"), new):
            fsync(file)
        if check is not None:
            check(new)
        _replace(new, folder)
        fsync(folder.parent)
    except OSError as error:
        raise unwritable(folder, error) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
        os.close(descriptor)


def write_atomically(file: Path, text: str) -> None:
    """Write a text file; readers see the old content or the new one, never a part of it.

    Raises:
        UserError: the file cannot be written
    """
    try:
        _remove_abandoned(file)
        new, descriptor = _locked_part(lambda: _new_file(file))
    except OSError as error:
        raise unwritable(file, error) from None
    try:
        new.write_text(text, encoding="utf-8")
        fsync(new)
        new.replace(file)
        fsync(file.parent)
    except OSError as error:
        raise unwritable(file, error) from None
    finally:
        new.unlink(missing_ok=True)
        os.close(descriptor)


def _new_file(file: Path) -> Path:
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}{_PART}")
    new.touch(exist_ok=False)
    return new


def _locked_part(create: Callable[[], Path]) -> tuple[Path, int]:
    """Create an incomplete file or folder and lock it; return it, and the descriptor that holds the lock.

    Another process may take it for an abandoned one before it is locked; then create another one. If the file
    system refuses locks, nothing is taken for abandoned. On one that locks folders only for each machine, as
    NFS does, two machines must not write the same folder at the same time.
    """
    while True:
        part = create()
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(part, os.O_RDONLY)
            if _lock(descriptor) is not False and part.exists():
                return part, descriptor
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock a file or folder; return false if another process has locked it, None if that is unknown."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove the incomplete versions of a file or folder that killed processes have left."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.\w{{8}}{re.escape(_PART)}")
    try:
        parts = [part for part in path.parent.iterdir() if pattern.fullmatch(part.name)]
    except OSError:  # the folder cannot be listed
        return
    for part in parts:
        with contextlib.suppress(OSError):  # it is gone, or belongs to another user
            descriptor = os.open(part, os.O_RDONLY)
            try:
                if _lock(descriptor):
                    _remove(part)
            finally:
                os.close(descriptor)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove incomplete files and folders of killed processes, at any depth.

    A folder that was moved away, but not yet replaced, is moved back. Call this function only while no other
    process writes to the folder.
    """
    for aside in [*folder.rglob(f".*{_REPLACED}")]:
        for old in aside.iterdir():
            if not (path := aside.parent / old.name).exists():
                old.rename(path)
    for part in [*folder.rglob(f".*{_PART}")]:
        _remove(part)


def _make_folders(folder: Path) -> None:
    """Create a folder and its parents, and flush their names to the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        fsync(path.parent)


def _replace(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; an old folder is moved away first, because `rename` needs an empty target."""
    if not folder.exists():
        new.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=_REPLACED, dir=folder.parent))
    try:
        folder.rename(aside / folder.name)
        try:
            new.rename(folder)
        except OSError:
            (aside / folder.name).rename(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
