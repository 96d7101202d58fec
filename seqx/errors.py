"""Mistakes that a user can mend: where they are, what they are, what to do."""

import errno
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

COMMAND_LINE = "command line"
_WIDEST = 120  # characters of a line that are shown around a caret
_QUOTED = 80  # characters of what messages repeat
_LISTED = 20  # problems of a recipe that are shown


class UserError(Exception):
    """A mistake that the user can mend; its text says where, what, and what to do."""

    code = 2
    """The exit code that it leads to."""


class DamagedError(UserError):
    """Something on the disk that cannot be read, or is not what was written."""


_OUT_OF_REACH = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.EAGAIN),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    }
)


def unreadable(file: object, error: Exception) -> UserError:
    """What to raise about a file: that it is damaged, unless it is only out of reach at the moment."""
    said = f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})"
    if isinstance(error, OSError) and error.errno in _OUT_OF_REACH:
        return UserError(f"{said}; see to that, and give the same command again")
    return DamagedError(said)


_FOLDER = "choose another folder"
_ADVICE: Mapping[int, str] = {
    errno.ENOSPC: "make room, and give the same command again",
    errno.EDQUOT: "make room, and give the same command again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "raise the limit on open files",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "check the disk",
}
"""Advice for errors of writing; for all others: choose another place."""


def unwritable(file: object, error: Exception, instead: str = _FOLDER) -> UserError:
    """Return an error about a file or a folder that cannot be written: the cause, and what to do.

    Args:
        file: the file or folder that cannot be written
        error: an error of the system, or of a library that repeats it in its text
        instead: the advice if another place helps
    """
    number, why = _cause(error)
    return UserError(f"{file}: cannot be written: {why}; {_ADVICE.get(number, instead)}")


def _cause(error: Exception) -> tuple[int, str]:
    """Return the number (0: none) and the text of the system's error in an error.

    `shutil` collects the errors of many files; the first is taken. safetensors repeats the error in its text.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, error.strerror or os.strerror(error.errno)
    if found := re.search(r"\[Errno (\d+)\]|\(os error (\d+)\)", str(error)):
        number = int(found[1] or found[2])
        return number, os.strerror(number)
    return 0, shortened(" ".join(str(error).split()), 200)


_MENDABLE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
        *(errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE),
    }
)


def mendable(error: OSError) -> bool:
    """Whether somebody else than seqx can mend it, whose file it names."""
    return error.errno in _MENDABLE and isinstance(error.filename, str | bytes)


class TooLittleMemoryError(UserError):
    """A device is out of memory while other ranks wait for it; all must restart with smaller microbatches.

    Args:
        message: for users
        padded_tokens: of the microbatch that did not fit
    """

    code = os.EX_OSERR

    def __init__(self, message: str, padded_tokens: int) -> None:
        super().__init__(message)
        self.padded_tokens = padded_tokens


class PluginError(UserError):
    """A plugin that cannot be used."""


class RegistrationError(UserError):
    """A component that cannot be registered as it is."""


@dataclass(frozen=True, slots=True)
class At:
    """A place in something written: a file's line and column (from 1), and the line itself."""

    source: str
    line: int
    column: int
    text: str = field(default="", compare=False, repr=False)
    profile: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"

    @property
    def origin(self) -> str:
        """Where a value came from, in short: file and line, and the profile that holds it."""
        place = self.source if self.source == COMMAND_LINE else f"{self.source}:{self.line}"
        return place if self.profile is None else f"{place}, profile {self.profile}"

    def picture(self) -> str:
        """The line with a caret below the column; a stretch of it when the line is very long."""
        start = max(0, self.column - 1 - _WIDEST // 2) if len(self.text) > _WIDEST else 0
        shown = self.text[start : start + _WIDEST]
        shown = "".join(c if c == "\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
        before = "".join("\t" if c == "\t" else " " for c in shown[: self.column - 1 - start])
        return f"    {shown}\n    {before}^"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a recipe, and its place."""

    at: At
    message: str

    def __str__(self) -> str:
        text = f"{self.at}: {self.message}"
        return f"{text}\n{self.at.picture()}" if self.at.text.strip() else text


class RecipeError(UserError):
    """Everything that is wrong with a recipe, at once; of very many problems the first are shown."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = sorted(problems, key=_order)

    def __str__(self) -> str:
        shown = [*map(str, self.problems[:_LISTED])]
        more = len(self.problems) - len(shown)
        return "\n".join([*shown, f"and {more:,} more"] if more else shown)


def shortened(text: str, most: int = _QUOTED) -> str:
    """What a message repeats of a file, which may be of any length: `most` characters of it."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _order(problem: Problem) -> tuple[bool, str, int, int]:
    """File by file from top to bottom; then the command line's, as they come."""
    at = problem.at
    return (True, "", 0, 0) if at.source == COMMAND_LINE else (False, at.source, at.line, at.column)
