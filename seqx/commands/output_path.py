"""The type of options that name a file or a folder to write."""

import os
from pathlib import Path

import click

from seqx.errors import UserError


class OutputPath(click.Path):
    """A file or a folder that a command writes. Its parent folder must exist: a missing one may be a typo.

    Only the folders of runs and of sweeps, `runs/NAME` without an option, are created with their parents.

    Args:
        is_new: it must not exist yet
        is_file: it is a file
    """

    def __init__(self, *, is_new: bool = False, is_file: bool = False) -> None:
        super().__init__(file_okay=is_file or is_new, dir_okay=not is_file or is_new, path_type=Path)
        self._is_new = is_new

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path.

        Raises:
            UserError: its parent folder does not exist or is a file, or the path exists already
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
        return path
