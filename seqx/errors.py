"""Errors that the user can fix. Their messages say where the problem is, what it is, and what to do."""

import errno
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

COMMAND_LINE = "command line"
_MAX_EXCERPT = 120  # characters of a line that are shown around a caret
_MAX_QUOTE = 80  # characters that messages repeat from a file
_MAX_PROBLEMS = 20  # problems of a recipe that are shown


class UserError(Exception):
    """An error that the user can fix. Its message says where the problem is, what it is, and what to do."""

    code = 2
    """The exit code of the process."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows in place of a traceback: the message."""
        return [str(self)]


class OtherRecipeError(UserError):
    """A folder has a run of another recipe."""


class DamagedError(UserError):
    """A file that is missing, unreadable, or differs from what was written."""


class NotFiniteError(UserError):
    """The outputs of a model are not finite, because it is damaged or diverged in training."""


_TEMPORARY = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.EAGAIN),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    }
)


def unreadable(file: object, error: Exception) -> UserError:
    """Return the error about a file that cannot be read: DamagedError, or UserError for a temporary cause."""
    message = f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})"
    if isinstance(error, OSError) and error.errno in _TEMPORARY:
        return UserError(f"{message}; fix that, and run the same command again")
    return DamagedError(message)


_OTHER_FOLDER = "choose another folder"
_ADVICE: Mapping[int, str] = {
    errno.ENOSPC: "free disk space, and run the same command again",
    errno.EDQUOT: "free disk space, and run the same command again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "raise the limit on open files",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "check the disk",
}
"""Advice by error number."""


def unwritable(file: object, error: Exception, advice: str = _OTHER_FOLDER) -> UserError:
    """Return the error about a file or a folder that cannot be written, with its cause and advice.

    Args:
        file: the file or folder
        error: an error of the system, or of a library that quotes it in its message
        advice: what to do, unless seqx has advice for the cause
    """
    number, reason = _cause(error)
    return UserError(f"{file}: cannot be written: {reason}; {_ADVICE.get(number, advice)}")


def _cause(error: Exception) -> tuple[int, str]:
    """Return the system's error number (0: unknown) and message.

    `shutil` lists the errors of several files; use the first. safetensors quotes the error in its text.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, error.strerror or os.strerror(error.errno)
    if match := re.search(r"\[Errno (\d+)\]|\(os error (\d+)\)", str(error)):
        number = int(match[1] or match[2])
        return number, os.strerror(number)
    return 0, shortened(" ".join(str(error).split()), 200)


_USER_CAN_FIX = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
        *(errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE),
    }
)


def user_can_fix(error: OSError) -> bool:
    """Return true if the user can fix an error of the system, such as a missing permission for a file."""
    return error.errno in _USER_CAN_FIX and isinstance(error.filename, str | bytes)


class OomRestartError(UserError):
    """A rank is out of memory while other ranks wait for it, so all must restart with smaller microbatches.

    Args:
        message: the message for the user
        padded_tokens: padded tokens of the microbatch that was too large
    """

    code = os.EX_OSERR

    def __init__(self, message: str, padded_tokens: int) -> None:
        super().__init__(message)
        self.padded_tokens = padded_tokens


class PluginError(UserError):
    """A plugin that cannot be used."""


class RegistrationError(UserError):
    """A component that cannot be registered."""


@dataclass(frozen=True, slots=True)
class Location:
    """A location in a file or on the command line: line and column (from 1), and the text of the line."""

    source: str
    line: int
    column: int
    text: str = field(default="", compare=False, repr=False)
    profile: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Return file, line and column; on the command line, the argument."""
        if self.source == COMMAND_LINE:
            return shortened(_printable(self.text)) or self.source
        return f"{self.source}:{self.line}:{self.column}"

    @property
    def origin(self) -> str:
        """The origin of a value: file, line and profile, as `seqx show` prints it."""
        position = self.source if self.source == COMMAND_LINE else f"{self.source}:{self.line}"
        return position if self.profile is None else f"{position}, profile {self.profile}"

    def excerpt(self) -> str:
        """Return the line with a caret below the column; if the line is long, only a part of it."""
        start = max(0, self.column - 1 - _MAX_EXCERPT // 2) if len(self.text) > _MAX_EXCERPT else 0
        shown = self.text[start : start + _MAX_EXCERPT]
        shown = _printable(shown)
        before = "".join("\t" if c == "\t" else " " for c in shown[: self.column - 1 - start])
        return f"    {shown}\n    {before}^"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem in a recipe, and its location."""

    at: Location
    message: str

    def __str__(self) -> str:
        """Return location and message, and the line with a caret unless it would repeat the location."""
        message, show_line = self.message, bool(self.at.text.strip())
        if self.at.source == COMMAND_LINE:  # an argument: `key=value`, `key+=value` or `--key value`
            key = re.split(r"[\s=+]", self.at.text.lstrip("-"), maxsplit=1)[0]
            message = message.removeprefix(f"{key}: ")
            show_line = self.at.text[: self.at.column - 1].strip("-+= ") not in ("", key)
        text = f"{self.at}: {message}"
        return f"{text}\n{self.at.excerpt()}" if show_line else text


class RecipeError(UserError):
    """All problems of a recipe. The message contains the first 20."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = sorted(problems, key=_order)

    def __str__(self) -> str:
        shown = [*map(str, self.problems[:_MAX_PROBLEMS])]
        more = len(self.problems) - len(shown)
        return "\n".join([*shown, f"and {more:,} more"] if more else shown)


def shortened(text: str, max_length: int = _MAX_QUOTE) -> str:
    """Return a text, cut to at most `max_length` characters, to quote it in a message."""
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."


def _printable(line: str) -> str:
    """Return a line in which control characters are replaced, except tabs."""
    return "".join(c if c == "\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def _order(problem: Problem) -> tuple[bool, str, int, int]:
    """Return a sort key: by file and position; problems of the command line last, in their order."""
    at = problem.at
    return (True, "", 0, 0) if at.source == COMMAND_LINE else (False, at.source, at.line, at.column)


def joined_alternatives(messages: list[str]) -> str:
    """Join pydantic's messages about the alternatives of a union to one message."""
    first, *rest = messages
    return " or ".join([first, *(message.removeprefix("Input should be ") for message in rest)])
