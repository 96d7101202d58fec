"""Lines of standard input with constraints on their answers, and the options for constraints."""

import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from seqx.errors import UserError
from seqx.interfaces.task import Request
from seqx.storage.text_lines import read_lines

_SURROGATE = re.compile("[\ud800-\udfff]")
_KEYS = ("text", "prefix", "require", "forbid")

_OPTIONS = (
    click.option(
        "--prefix",
        "prefixes",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Prefixes of the answers, one per input line.",
    ),
    click.option(
        "--prefix-all",
        default="",
        metavar="TEXT",
        help="Prefix of all answers without a prefix in FILE or in the JSON input.",
    ),
    click.option(
        "--require",
        multiple=True,
        metavar="PHRASE",
        help="Phrase that every answer contains; may be repeated.",
    ),
    click.option(
        "--forbid", multiple=True, metavar="PHRASE", help="Phrase that no answer contains; may be repeated."
    ),
    click.option("--json-input", is_flag=True, help="Lines are JSON objects: text, prefix, require, forbid."),
)


def request_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for constraints to a command; the function gets a `RequestLines` as `requests`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        prefixes: Path | None,
        prefix_all: str,
        require: tuple[str, ...],
        forbid: tuple[str, ...],
        json_input: bool,
        **others: Any,
    ) -> None:
        requests = RequestLines(
            prefix=prefix_all, prefixes=prefixes, require=require, forbid=forbid, as_json=json_input
        )
        command(*args, requests=requests, **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


@dataclass
class RequestLines:
    """Conversion of the lines of standard input to requests, in order.

    Args:
        prefix: prefix of all answers without a prefix in `prefixes` or in their JSON object
        prefixes: a file; line i is the prefix of the answer to line i
        require: phrases required in all answers
        forbid: phrases forbidden in all answers
        as_json: lines are JSON objects with "text", and optionally "prefix", "require" and "forbid"
    """

    prefix: str = ""
    prefixes: Path | None = None
    require: Sequence[str] = ()
    forbid: Sequence[str] = ()
    as_json: bool = False
    count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for option, phrases in (("--require", self.require), ("--forbid", self.forbid)):
            if not all(phrase.strip() for phrase in phrases):
                raise UserError(f"{option}: a phrase is empty; write at least one character")
        self._lines: Iterator[str] | None = None if self.prefixes is None else read_lines(self.prefixes)

    def parse(self, line: str) -> str | Request:
        """Convert a line to a request; return the line itself if there are no constraints."""
        is_unconstrained = not (self.prefix or self.prefixes or self.require or self.forbid or self.as_json)
        return line if is_unconstrained else self._request(line)

    def check_prefixes_used(self) -> None:
        """Check that the file of prefixes does not have more lines than standard input.

        Raises:
            UserError: there are more prefixes than lines
        """
        if self._lines is not None and next(self._lines, None) is not None:
            raise UserError(
                f"{self.prefixes}: has more lines than standard input, which has {self.count}; "
                "write one line per input, empty for no prefix"
            )

    def _request(self, line: str) -> Request:
        self.count += 1
        request = self._from_json(line) if self.as_json else Request(input=line)
        of_file = self._next_prefix()
        return Request(
            input=request.input,
            prefix=request.prefix or of_file or self.prefix,
            require=(*self.require, *request.require),
            forbid=(*self.forbid, *request.forbid),
        )

    def _next_prefix(self) -> str:
        if self._lines is None:
            return ""
        prefix = next(self._lines, None)
        if prefix is None:
            raise UserError(
                f"{self.prefixes}: has {self.count - 1} lines, and standard input has more; "
                "write one line per input, empty for no prefix"
            )
        return prefix

    def _from_json(self, line: str) -> Request:
        where = f"standard input:{self.count}"
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f'{where}: not JSON ({error}); write an object, {{"text": ...}}') from error
        if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
            raise UserError(f'{where}: write an object with a string as its "text"')
        if unknown := fields.keys() - {*_KEYS}:
            raise UserError(f"{where}: unknown key {min(unknown)!r}; known keys: {', '.join(_KEYS)}")
        prefix = fields.get("prefix", "")
        if not isinstance(prefix, str):
            raise UserError(f'{where}: "prefix" must be a string')
        phrases = {}
        for key in ("require", "forbid"):
            value = fields.get(key, [])
            if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
                raise UserError(f"{where}: {key!r} must be a list of non-empty strings")
            phrases[key] = tuple(value)
        request = Request(input=fields["text"], prefix=prefix, **phrases)
        for part in (request.input, request.prefix, *request.require, *request.forbid):
            if _SURROGATE.search(part):
                raise UserError(
                    f"{where}: {part[:40]!r} has an unpaired surrogate; escape both halves of the character"
                )
        return request
