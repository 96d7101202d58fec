"""The version of what seqx writes, and its JSON files, which are checked before they are believed."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from seqx.errors import DamagedError, UserError, shortened, unreadable
from seqx.storage.bounded_read import json_content, opened

T = TypeVar("T")

FORMAT = 2
"""The version of checkpoints and models; a reader refuses what is newer.

1: no manifest; states and random states pickled, in `training.pt`.
2: `manifest.json`; states and random states in `states.json` and `states.safetensors`.
"""

_MOST = 1 << 20  # bytes of a file, and of a line
_DEEPEST = 60  # levels of nesting
_MOST_LINES = 1 << 32  # bytes of a file of lines, which is read line by line


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file of a run or a model.

    Raises:
        DamagedError: it is missing or damaged
        UserError: it is of a newer seqx
    """
    try:
        about = json_content(file, _MOST)
        _check_depth(about)
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from None
    if not isinstance(about, dict):
        raise DamagedError(f"{file}: cannot be read (not a JSON object)")
    check_format(about.get("format", FORMAT), file)
    return about


def _check_depth(value: Any) -> None:
    """Refuse JSON that is nested so deep that a recursive reader would fail."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [item for group in level if isinstance(group, dict | list) for item in _inside(group)]
        if not level:
            return
    raise ValueError("it is nested too deep")


def _inside(group: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return group.values() if isinstance(group, dict) else group


def check_format(found: object, file: Path, newest: int = FORMAT) -> None:
    """See that what a file says of its format is one that can be read.

    Raises:
        DamagedError: it is none
        UserError: it is that of a newer seqx
    """
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise DamagedError(f"{file}: cannot be read (format: {shortened(repr(found))} is none)")
    if found > newest:
        said = shortened(str(found))
        raise UserError(f"{file}: written by a newer seqx (format {said}); update seqx to read it")


def json_text(value: object, *, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """Return plain values as JSON, in which numbers that are not finite are "Infinity", "-Infinity" or "NaN".

    JSON has no such numbers; `read_as` and Python's `float` convert these strings back.
    """
    return json.dumps(_strict(value), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def _strict(value: Any) -> Any:
    match value:
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case Mapping():
            return {key: _strict(item) for key, item in value.items()}
        case list() | tuple():
            return [_strict(item) for item in value]
        case _:
            return value


def read_as(kind: TypeAdapter[T], file: Path) -> T:
    """A JSON file of a run or a model, as what it must be.

    Raises:
        DamagedError: it is missing, damaged, or something else
        UserError: it is of a newer seqx
    """
    return _as(kind, read_json(file), file)


def json_as(kind: TypeAdapter[T], file: Path, most: int) -> T:
    """The value in a JSON file of at most `most` bytes, as what it must be.

    Raises:
        DamagedError: it cannot be read, is larger, or something else
    """
    try:
        said = json_content(file, most)
        _check_depth(said)
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from None
    return _as(kind, said, file)


def json_lines(kind: TypeAdapter[T], file: Path, advice: str) -> Iterator[tuple[str, T]]:
    """Yield the text and the value of each line of a file of JSON lines, which may be missing.

    A line that is not JSON is skipped: a killed process can leave half a line.

    Args:
        kind: the type of the value of each line
        file: the lines, each ended by a line feed
        advice: what the user can do about a line of another type

    Raises:
        DamagedError: the file cannot be read, or a line, which is named, is too long or not of the `kind`
    """
    if not file.exists():
        return
    try:
        with opened(file, _MOST_LINES) as stream:
            number = 0
            while raw := stream.readline(_MOST + 1):
                number += 1
                if len(raw) > _MOST:
                    said = f"it has more than {_MOST:,} bytes"
                    raise DamagedError(f"{file}:{number}: cannot be read ({said}); {advice}")
                text = raw.decode(errors="replace").removesuffix("\n")
                try:
                    value = kind.validate_python(json.loads(text))
                except ValidationError as error:
                    said = first_fault(error)
                    raise DamagedError(f"{file}:{number}: cannot be read ({said}); {advice}") from None
                except (ValueError, RecursionError):
                    continue
                yield text, value
    except OSError as error:
        raise DamagedError(f"{file}: cannot be read: {error.strerror}; {advice}") from None


def _as(kind: TypeAdapter[T], said: object, file: Path) -> T:
    try:
        return kind.validate_python(said)
    except ValidationError as error:
        raise DamagedError(f"{file}: cannot be read ({first_fault(error)})") from None


def first_fault(error: ValidationError, inside: str = "") -> str:
    """Where the first mistake is, and what it is, of a value that is not what it must be.

    Args:
        error: tells of all mistakes
        inside: the key of the value in what it is a part of
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(shortened(str(part)) for part in (inside, *first["loc"]) if part != "")
    why = first["msg"].removeprefix("Value error, ")
    return f"{where or 'all of it'}: {shortened(why, 200)}"
