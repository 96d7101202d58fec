"""Read and check the JSON files of runs and models, which have a format number."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from seqx.errors import DamagedError, UserError, joined_alternatives, shortened, unreadable
from seqx.storage.bounded_read import open_bounded, read_bounded_json

T = TypeVar("T")

FORMAT = 2
"""The format number of checkpoints and models. Format 1 was never released and is refused."""

_MAX_BYTES = 1 << 20  # of a file, and of a line
_MAX_DEPTH = 60
_MAX_LINES_BYTES = 1 << 32  # of a file that is read line by line


def read_json(file: Path, max_bytes: int = _MAX_BYTES) -> dict[str, Any]:
    """Read a JSON object from a file of a run or a model, which has at most `max_bytes`.

    Raises:
        DamagedError: the file is missing or damaged
        UserError: a newer version of seqx wrote it
    """
    try:
        value = read_bounded_json(file, max_bytes)
        _check_depth(value)
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from None
    if not isinstance(value, dict):
        raise DamagedError(f"{file}: cannot be read (not a JSON object)")
    check_format(value.get("format", FORMAT), file)
    return value


def _check_depth(value: Any) -> None:
    """Refuse JSON that is nested so deeply that recursive functions would fail."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [item for group in level if isinstance(group, dict | list) for item in _items(group)]
        if not level:
            return
    raise ValueError("it is nested too deep")


def _items(group: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return group.values() if isinstance(group, dict) else group


def check_format(number: object, file: Path, newest: int = FORMAT) -> None:
    """Check that this version of seqx is new enough to read a file.

    Args:
        number: the format number in the file
        file: the file, for messages
        newest: the newest format number that this version can read

    Raises:
        DamagedError: it is not a format number
        UserError: a newer version of seqx wrote the file
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise DamagedError(
            f"{file}: cannot be read (format: {shortened(repr(number))} is not a format number)"
        )
    if number > newest:
        text = shortened(str(number))
        raise UserError(f"{file}: written by a newer seqx (format {text}); update seqx to read it")


def check_supported(number: int, file: Path) -> None:
    """Check that this version of seqx can read the format of a checkpoint or a model.

    Raises:
        UserError: the format is too old
    """
    if number < FORMAT:
        raise UserError(
            f"{file}: has format {number}, which this version of seqx cannot read (it reads format "
            f"{FORMAT}); train again, or read it with the version that wrote it"
        )


def json_text(value: object, *, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """Return plain values as JSON; infinities and NaN become the strings "Infinity", "-Infinity" and "NaN".

    JSON has no such numbers. `read_as` and Python's `float` convert the strings back.
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


def read_as(
    adapter: TypeAdapter[T], file: Path, advice: str | None = None, *, max_bytes: int = _MAX_BYTES
) -> T:
    """Read a JSON file of a run or a model and check its type.

    Args:
        adapter: the type of the value
        file: the file
        advice: the end of the message about a damaged file, which says what to do; None: the caller adds it
        max_bytes: a larger file is damaged

    Raises:
        DamagedError: the file is missing, damaged, or of another type
        UserError: a newer version of seqx wrote it
    """
    try:
        return _validated(adapter, read_json(file, max_bytes), file)
    except DamagedError as error:
        if advice is None:
            raise
        raise DamagedError(f"{error}; {advice}") from None


def read_json_as(adapter: TypeAdapter[T], file: Path, max_bytes: int) -> T:
    """Read a JSON file of at most `max_bytes` bytes and check its type.

    Raises:
        DamagedError: the file cannot be read, is larger, or is of another type
    """
    try:
        value = read_bounded_json(file, max_bytes)
        _check_depth(value)
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from None
    return _validated(adapter, value, file)


def read_json_lines(
    adapter: TypeAdapter[T],
    file: Path,
    advice: str,
    *,
    on_damage: Callable[[int, str], object] | None = None,
    max_line_bytes: int = _MAX_BYTES,
) -> Iterator[tuple[str, T]]:
    """Yield the text and the value of each line of a JSON Lines file, which may be missing.

    A last line without a line feed that is not JSON is skipped: a killed process can leave it.

    Args:
        adapter: the type of the value of each line
        file: the file; each line ends with a line feed
        advice: the end of each message, which says what to do
        on_damage: called with the number of each damaged line (from 1) and its problem; the line is skipped;
            None: lines that are not JSON are skipped, and other damaged lines raise an error
        max_line_bytes: a longer line is damaged

    Raises:
        DamagedError: the file cannot be read; or, without `on_damage`, a line is too long or of another type
    """
    if not file.exists():
        return

    def refuse(number: int, problem: str) -> None:
        raise DamagedError(f"{file}:{number}: cannot be read ({problem}); {advice}")

    try:
        with open_bounded(file, _MAX_LINES_BYTES) as stream:
            for number, raw in enumerate(_cut_lines(stream, max_line_bytes), start=1):
                if len(raw) > max_line_bytes:
                    (on_damage or refuse)(number, f"it has more than {max_line_bytes:,} bytes")
                    continue
                text = raw.decode(errors="replace").removesuffix("\n")
                try:
                    parsed = json.loads(text)
                    value = adapter.validate_python(parsed)
                except ValidationError as error:
                    (on_damage or refuse)(number, first_error(error, parsed))
                except (ValueError, RecursionError):
                    if on_damage is not None and raw.endswith(b"\n"):
                        on_damage(number, "it is not JSON")
                else:
                    yield text, value
    except OSError as error:
        raise DamagedError(f"{file}: cannot be read: {error.strerror}; {advice}") from None


def _cut_lines(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """Yield each line; cut a line of more than `max_bytes` bytes after `max_bytes` + 1 bytes."""
    while raw := stream.readline(max_bytes + 1):
        yield raw
        while len(raw) > max_bytes and not raw.endswith(b"\n"):
            raw = stream.readline(max_bytes + 1)


def _validated(adapter: TypeAdapter[T], value: object, file: Path) -> T:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise DamagedError(f"{file}: cannot be read ({first_error(error, value)})") from None


def first_error(error: ValidationError, value: object, key: str = "") -> str:
    """Return the first of pydantic's errors as "path.to.value: message".

    Args:
        error: pydantic's errors
        value: the checked value
        key: the path of the checked value in the file; empty for the whole file
    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    first = details[0]["loc"][:1]
    found = [(_path(each, value), each["msg"]) for each in details if each["loc"][:1] == first]
    deepest = max((path for path, _ in found), key=len)  # of the alternatives of a union
    messages = dict.fromkeys(
        re.sub(r" or instance of \w+", "", message).removeprefix("Value error, ")
        for path, message in found
        if path == deepest
    )
    path_text = ".".join(shortened(str(part)) for part in (key, *deepest) if part != "")
    return f"{path_text or 'the whole value'}: {shortened(joined_alternatives([*messages]), 200)}"


def _path(detail: ErrorDetails, value: Any) -> tuple[int | str, ...]:
    """Return the keys and indices that lead to a wrong value, without pydantic's names of types."""
    path: list[int | str] = []
    for step in detail["loc"]:
        is_item = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if is_item or (isinstance(value, dict) and step in value):
            path.append(step)
            value = value[step]
    return (*path, detail["loc"][-1]) if detail["type"] == "missing" else tuple(path)
