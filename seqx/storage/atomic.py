"""Write files and folders atomically, so that they are complete or absent.

Until a file or folder is complete, its name begins with a dot and ends with `.part`, and the process that
writes it holds a lock on it. A killed process leaves such names behind, without a lock. The next process that
writes the same file or folder removes them with `remove_leftovers`.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from seqx.errors import DamagedError, UserError, unwritable
from seqx.storage.direct_output import open_output, unreplaceable

_PART = ".part"
_REPLACED = ".replaced.part"  # holds the old version of a folder while it is replaced
_PART_NAME = re.compile(r"\.(?P<name>.+)\.(?!replaced\.)\w{8}(?P<replaced>\.replaced)?\.part", re.DOTALL)
_ANY_NAME = re.compile(".+", re.DOTALL)


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

    A link is kept, and its target is replaced.

    Args:
        folder: the final path
        check: called with the new folder after it was written to the disk, before it replaces the old one

    Raises:
        UserError: the folder cannot be written
    """
    try:
        target = Path(os.path.realpath(folder))
        _make_folders(target.parent)
        with incomplete(target) as new:
            yield new
            fsync_folder(new)
            if check is not None:
                check(new)
            _replace(new, target)
            fsync(target.parent)
    except OSError as error:
        raise unwritable(folder, error) from None


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8; readers see the old content or the new one, never a part of it.

    A link is kept, and its target is replaced. An existing file keeps its owner and permissions. A device, a
    pipe and a standard stream cannot be replaced, and are written directly.

    Raises:
        UserError: the file cannot be written
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if unreplaceable(file) is not None:
            with open_output(file, "w") as stream:
                stream.buffer.write(data)
            return
        old = file.stat() if file.exists() else None
        mode = 0o666 if old is None else 0o600  # a private file is private before it is complete
        with atomic_file(file, mode=mode) as new:
            new.write_bytes(data)
            if old is not None:
                with contextlib.suppress(PermissionError):  # only root may give files to others
                    os.chown(new, old.st_uid, old.st_gid)
                new.chmod(stat.S_IMODE(old.st_mode))
    except OSError as error:
        raise unwritable(file, error) from None


@contextlib.contextmanager
def atomic_file(file: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Yield a new empty file that replaces `file` when the block ends, and is removed when it fails.

    A link is kept, and its target is replaced.

    Args:
        file: the final path, in a folder that exists
        mode: the permissions of the new file (0o666 by default), without those that the umask forbids

    Raises:
        OSError: the file cannot be written
    """
    target = Path(os.path.realpath(file))
    with incomplete(target, partial(Path.touch, mode=mode, exist_ok=False)) as new:
        yield new
        fsync(new)
        new.replace(target)
        fsync(target.parent)


@contextlib.contextmanager
def incomplete(path: Path, create: Callable[[Path], object] = Path.mkdir) -> Iterator[Path]:
    """Yield a new incomplete version of a file or folder, which is locked, and removed unless it is renamed.

    Args:
        path: the final path
        create: creates the incomplete version; by default an empty folder

    Raises:
        OSError: the incomplete version cannot be created
    """
    remove_leftovers(path.parent, re.compile(re.escape(path.name)))
    new, descriptor = _locked_part(path, _PART, create)
    try:
        yield new
    finally:
        _remove(new)
        os.close(descriptor)


def _locked_part(path: Path, suffix: str, create: Callable[[Path], object]) -> tuple[Path, int]:
    """Create an incomplete file or folder and lock it; return it, and the descriptor that holds the lock.

    Another process may take it for an abandoned one before it is locked; then create another one. If the file
    system refuses locks, nothing is taken for abandoned. On one that locks folders only for each machine, as
    NFS does, two machines must not write the same folder at the same time.
    """
    while True:
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{suffix}")
        create(part)
        try:
            descriptor = _open(part)
            if _lock(descriptor) is not False and part.exists():
                return part, descriptor
            os.close(descriptor)
        except FileNotFoundError:
            continue
        except BaseException:
            _remove(part)
            raise


def _open(part: Path) -> int:
    """Open a file or folder to lock it. NFS locks only files that are opened for writing."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(part, os.O_RDWR | flags)
    except (IsADirectoryError, PermissionError):
        return os.open(part, os.O_RDONLY | flags)


def _lock(descriptor: int) -> bool | None:
    """Lock a file or folder; return false if another process has locked it, None if that is unknown."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def remove_leftovers(folder: Path, names: re.Pattern[str] = _ANY_NAME, *, recursive: bool = False) -> None:
    """Remove the incomplete files and folders that killed processes have left in a folder.

    Those that a running process writes are locked, and kept. A folder that was moved away, but not yet
    replaced, is moved back. Links are not followed.

    Args:
        folder: the folder
        names: matches the final names of the files and folders
        recursive: also remove those in the folders below
    """
    for parent, folders, files in os.walk(folder):
        for entry in (*folders, *files):
            part = _PART_NAME.fullmatch(entry)
            if part is not None and names.fullmatch(part["name"]):
                _remove_abandoned(Path(parent, entry), is_replaced=part["replaced"] is not None)
        folders[:] = [name for name in folders if recursive and not _PART_NAME.fullmatch(name)]


def _remove_abandoned(part: Path, *, is_replaced: bool) -> None:
    """Remove an incomplete file or folder that no process has locked; move the folder in it back."""
    with contextlib.suppress(OSError):  # it is gone, or belongs to another user
        descriptor = _open(part)
        try:
            if _lock(descriptor):
                for old in part.iterdir() if is_replaced else ():
                    if not (path := part.parent / old.name).exists():
                        old.rename(path)
                _remove(part)
        finally:
            os.close(descriptor)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


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
    aside, descriptor = _locked_part(folder, _REPLACED, Path.mkdir)
    try:
        folder.rename(aside / folder.name)
        try:
            new.rename(folder)
        except OSError:
            (aside / folder.name).rename(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Flush a folder and everything in it to the disk."""
    for path in (*folder.rglob("*"), folder):
        fsync(path)


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
