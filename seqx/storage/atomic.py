"""Files and folders that are either whole or not there.

What is being written has a name that begins with a dot and ends with `.part`. A process that is killed
leaves it behind; `clear` removes that, and puts back what was about to be replaced.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from seqx.errors import DamagedError, UserError, unwritable

_PART = ".part"
_REPLACED = ".replaced.part"  # a folder that holds the one whose place is taken


def check_name(folder: Path) -> None:
    """Refuse a folder in which no weights can be kept.

    Raises:
        UserError: its name is not UTF-8, and the library of their format knows no other names
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UserError(f"{folder}: weights need a folder whose name is UTF-8; rename it") from None


def check_links(folder: Path, *names: str) -> None:
    """Refuse links that lead out of a folder of unknown origin, without opening their targets.

    Args:
        folder: may itself be reached through a link
        names: the entries to check; without any, all

    Raises:
        DamagedError: a link leads out of the folder, or nowhere
    """
    home = Path(os.path.realpath(folder))
    for name in names:
        _check_link(home / name, home, folder)
    for top in [home / name for name in names] or [home]:
        for at, folders, files in os.walk(top):  # it follows no links below the top
            for name in (*folders, *files):
                _check_link(Path(at, name), home, folder)


def _check_link(entry: Path, home: Path, folder: Path) -> None:
    target = Path(os.path.realpath(entry))  # in a circle of links, one is left as a link
    if entry.is_symlink() and (target.is_symlink() or not target.is_relative_to(home) or not target.exists()):
        raise DamagedError(
            f"{folder / entry.relative_to(home)}: is a link that leads out of the folder or nowhere; "
            "put a copy of the file in its place, if you trust it"
        )


@contextlib.contextmanager
def whole_folder(folder: Path, *, check: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """A folder to write into; takes the place of `folder` when the block ends, vanishes when it fails.

    Args:
        folder: its place
        check: looks at what was written, when it is on the disk and before anybody sees it

    Raises:
        UserError: there is no room, or no permission
    """
    try:
        _made(folder.parent)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=_PART, dir=folder.parent))
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        yield new
        new.chmod(0o755)
        for file in (*new.rglob("*"), new):
            sync(file)
        if check is not None:
            check(new)
        _replace(new, folder)
        sync(folder.parent)
    except OSError as error:
        raise unwritable(folder, error) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def whole_file(file: Path, text: str) -> None:
    """Write a text file that is never seen half."""
    new = file.with_name(f".{file.name}.{os.getpid()}{_PART}")
    try:
        new.write_text(text, encoding="utf-8")
        sync(new)
        new.replace(file)
        sync(file.parent)
    except OSError as error:
        raise unwritable(file, error) from None
    finally:
        new.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove what processes that were killed left half in a folder, and in those within it.

    Only for a folder in which nobody writes now. A folder that was moved aside for another one, which never
    came, is put back.
    """
    for replaced in [*folder.rglob(f".*{_REPLACED}")]:
        for before in replaced.iterdir():
            if not (place := replaced.parent / before.name).exists():
                before.rename(place)
    for half in [*folder.rglob(f".*{_PART}")]:
        if half.is_dir():
            shutil.rmtree(half, ignore_errors=True)
        else:
            half.unlink(missing_ok=True)


def _made(folder: Path) -> None:
    """Make a folder and those above it, with their names on the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


def _replace(new: Path, folder: Path) -> None:
    """Folders cannot be replaced in one step when the old one holds something: move that aside first."""
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


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
