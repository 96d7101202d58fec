"""The type of options that name a file or a folder to write."""

import errno
import os
import re
from functools import partial
from pathlib import Path

import click

from seqx.errors import UserError, unwritable
from seqx.storage.atomic import incomplete
from seqx.storage.direct_output import unreplaceable

_START = 4096  # bytes of an existing file that are read


class OutputPath(click.Path):
    """A file or a folder that a command writes. Its parent folder must exist: a missing one may be a typo.

    The option is refused if the path cannot be written: otherwise the result of hours of work would be lost.
    Devices, pipes and the standard streams, such as /dev/stdout, are files that may be written.

    Only the folders of runs and sweeps, by default `runs/NAME`, are created with their parents.

    Args:
        is_new: it must not exist yet
        is_file: it is a file
        is_empty: it may be an existing folder, but only an empty one; hidden files do not count
        replaces: a regular expression for the first 4 KiB of the files that the option writes. An existing
            file that does not match it is refused, because it may be an input of the user. None: existing
            files are accepted, and the command must check them itself
    """

    def __init__(
        self,
        *,
        is_new: bool = False,
        is_file: bool = False,
        is_empty: bool = False,
        replaces: str | None = None,
    ) -> None:
        super().__init__(file_okay=is_file or is_new, dir_okay=not is_file or is_new, path_type=Path)
        self._is_new = is_new
        self._is_empty = is_empty
        self._replaces = None if replaces is None else re.compile(replaces.encode(), re.DOTALL)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path.

        Raises:
            UserError: its parent folder does not exist or is a file, or the path exists and is not replaced,
                or is a folder with files that must be empty, or it cannot be written
        """
        if not value:
            self.fail("the path is empty; name a file or a folder", param, ctx)
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        is_option = isinstance(param, click.Option)
        other = f"choose another {param.opts[0]}" if is_option and param else "choose another name"
        if self._is_new and os.path.lexists(path):
            raise UserError(f"{path}: exists already; remove it, or {other}")
        if not os.path.isdir(path.parent):  # noqa: PTH112  Path.is_dir raises for some names
            if os.path.lexists(path.parent):
                raise UserError(f"{path}: {path.parent} is not a folder; {other}")
            raise UserError(f"{path}: the folder {path.parent} does not exist; create it, or {other}")
        if self._replaces is not None and _is_replaced(path) and not _begins_with(path, self._replaces):
            raise UserError(
                f"{path}: exists already, and is not a file that this option wrote; remove it, or {other}"
            )
        if self._is_empty and os.path.isdir(path) and (names := _names(path)):  # noqa: PTH112
            raise UserError(f"{path}: has files already ({min(names)}); remove them, or {other}")
        try:
            _check_writable(path)
        except OSError as error:
            raise unwritable(path, error, other) from None
        return path


def check_outside(path: Path, *folders: Path, option: str = "--out") -> None:
    """Refuse a folder to write that is one of the folders that the command reads, or lies inside of one.

    Raises:
        UserError: it is or does
    """
    for folder in folders:
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise UserError(f"{path}: is inside of {folder}, which is read; choose another {option}")


def _is_replaced(path: Path) -> bool:
    """Return true if a path is a file that would be replaced, not written like /dev/stdout."""
    return os.path.isfile(path) and unreplaceable(path) is None  # noqa: PTH113  Path.is_file raises for some names


def _check_writable(path: Path) -> None:
    """Create a file where the new file or folder will be created, and remove it.

    Raises:
        OSError: that fails
    """
    match unreplaceable(path):
        case int():
            return  # it is open already
        case Path():
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        case None:
            target = Path(os.path.realpath(path))
            is_folder = os.path.isdir(target)  # noqa: PTH112  Path.is_dir raises for some names
            with incomplete(target / "output" if is_folder else target, partial(Path.touch, exist_ok=False)):
                pass


def _names(folder: Path) -> list[str]:
    """Return the names of the files and folders in a folder, except hidden ones."""
    try:
        return [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise unwritable(folder, error) from None


def _begins_with(file: Path, pattern: re.Pattern[bytes]) -> bool:
    """Return true if the beginning of a file matches; an empty file always does."""
    try:
        with file.open("rb") as stream:
            start = stream.read(_START)
    except OSError as error:
        raise unwritable(file, error) from None
    return not start or pattern.match(start) is not None
