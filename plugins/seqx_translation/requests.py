"""What is asked of each translation besides its source."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import seqx

_HALF = re.compile("[\ud800-\udfff]")
_KEYS = ("text", "prefix", "require", "forbid")


@dataclass
class Requests:
    """Makes requests of the lines of standard input, one after the other.

    Args:
        prefix: what all translations begin with
        prefixes: a file whose line i is what the translation of line i begins with
        require: what occurs in all translations
        forbid: what does not
        as_json: whether lines are JSON objects with "text", and "prefix", "require" and "forbid" of their own
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
                raise seqx.UserError(f"{option}: a phrase is empty; give at least a character")
        self._lines: Iterator[str] | None = None if self.prefixes is None else seqx.read_lines(self.prefixes)

    @property
    def read(self) -> Callable[[str], str | seqx.Request]:
        """What is asked with a line: where nothing is but its translation, the line."""
        plain = not (self.prefix or self.prefixes or self.require or self.forbid or self.as_json)
        return str if plain else self._request

    def finish(self) -> None:
        """To be called behind the last line.

        Raises:
            UserError: there are prefixes of further lines
        """
        if self._lines is not None and next(self._lines, None) is not None:
            raise seqx.UserError(
                f"{self.prefixes}: has more lines than standard input, which has {self.count}; "
                "give as many, an empty one where nothing is asked for"
            )

    def _request(self, line: str) -> seqx.Request:
        self.count += 1
        own = self._from_json(line) if self.as_json else seqx.Request(text=line)
        return seqx.Request(
            text=own.text,
            prefix=own.prefix or self._next() or self.prefix,
            require=(*self.require, *own.require),
            forbid=(*self.forbid, *own.forbid),
        )

    def _next(self) -> str:
        if self._lines is None:
            return ""
        prefix = next(self._lines, None)
        if prefix is None:
            raise seqx.UserError(
                f"{self.prefixes}: has {self.count - 1} lines, and standard input has more; "
                "give as many, an empty one where nothing is asked for"
            )
        return prefix

    def _from_json(self, line: str) -> seqx.Request:
        where = f"standard input:{self.count}"
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise seqx.UserError(f'{where}: no JSON ({error}); give an object as {{"text": ...}}') from error
        if not isinstance(said, dict) or not isinstance(said.get("text"), str):
            raise seqx.UserError(f'{where}: give an object with a string as its "text"')
        if unknown := said.keys() - {*_KEYS}:
            raise seqx.UserError(f"{where}: {min(unknown)!r} means nothing here; known: {', '.join(_KEYS)}")
        prefix = said.get("prefix", "")
        if not isinstance(prefix, str):
            raise seqx.UserError(f'{where}: "prefix" must be a string')
        phrases = {}
        for key in ("require", "forbid"):
            value = said.get(key, [])
            if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
                raise seqx.UserError(f"{where}: {key!r} must be a list of strings that are not empty")
            phrases[key] = tuple(value)
        request = seqx.Request(text=said["text"], prefix=prefix, **phrases)
        for part in (request.text, request.prefix, *request.require, *request.forbid):
            if _HALF.search(part):
                raise seqx.UserError(f"{where}: {part[:40]!r} holds half a character; escape both halves")
        return request
