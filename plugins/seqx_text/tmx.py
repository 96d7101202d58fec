"""The corpus `tmx`: translation memories (TMX 1.4)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen

import seqx
from seqx_text.file_corpus import FileCorpus

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = ("bpt", "ept", "it", "ph", "ut")  # inline elements that contain codes of other programs, no text
_MAX_LENGTH = 1 << 24  # characters of a segment, a tag or a comment, which are held in memory


@dataclass(kw_only=True)
class Tmx(FileCorpus):
    """Translation memories in TMX, read as a stream, plain or compressed with gzip, bzip2, xz or zstd.

    A row has the segments of a unit in each language of `columns`. A unit without one of them is not used; in
    the training set, such units are counted as dropped.
    Formatting codes are left out, and white space in a segment becomes one space. Files that declare entities
    are refused.

    Args:
        columns: the language of each column, such as [en, de]; en is also en-US
        train: training files, read one after the other
        dev: validation files
        test: test files
    """

    has_incomplete_rows = True

    columns: Annotated[list[str], MinLen(1)]
    train: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.columns)

    @property
    def languages(self) -> Sequence[str]:
        """The languages of the columns."""
        return self.columns

    def read(self, files: Sequence[Path]) -> Iterator[tuple[str, ...]]:
        """Yield the segments of each unit; that of a missing language is empty.

        Raises:
            UserError: the file is not well-formed XML, or declares entities; or no unit has all languages
        """
        from defusedxml import DefusedXmlException  # noqa: PLC0415
        from defusedxml.ElementTree import DefusedXMLParser, ParseError  # noqa: PLC0415

        (path,) = files
        self.stamps(files)
        units = _Units(self.columns)
        parser = DefusedXMLParser(target=units, forbid_dtd=False, forbid_entities=True, forbid_external=True)
        try:
            for part in seqx.read_parts(path):
                units.unparsed += len(part)
                parser.feed(part)
                yield from units.take()
                if max(units.unparsed, units.length) > _MAX_LENGTH:
                    line = parser.parser.CurrentLineNumber
                    raise seqx.UserError(
                        f"{path}:{line}: a segment, a tag or a comment has more than {_MAX_LENGTH:,} "
                        "characters, which could fill the memory; split or remove it"
                    )
            parser.close()
        except ParseError as error:
            line, _ = error.position
            raise seqx.UserError(f"{path}:{line}: is not well-formed XML ({error}); repair it") from None
        except DefusedXmlException:
            line = parser.parser.CurrentLineNumber
            raise seqx.UserError(
                f"{path}:{line}: declares entities, with which a small file can fill the memory or read "
                "other files; if you trust the file, remove the declarations"
            ) from None
        yield from units.take()
        if units.found and not units.has_complete:
            raise seqx.UserError(
                f"{path}: no unit has a text in each of {', '.join(self.columns)}; its languages are "
                f"{', '.join(sorted(units.found))}; correct columns"
            )

    def location_in_part(self, files: Sequence[Path], row: int) -> str:
        """Return the file and the number of a unit, because a unit may have several lines."""
        return f"{files[0]}, unit {1 + row}"


class _Units:
    """The target of an XML parser, which collects the segments of units.

    Args:
        languages: the language of each column

    Attributes:
        found: the languages of the file so far
        has_complete: true if a unit had a text in each language
        unparsed: the number of characters given to the parser since it last reported a tag or text;
            `Tmx.read` adds to it
        length: the number of characters of the open segment
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self.found = set[str]()
        self.has_complete = False
        self.unparsed = self.length = 0
        self._languages = [language.lower() for language in languages]
        self._rows: list[tuple[str, ...]] = []
        self._segments: dict[str, str] = {}
        self._language = ""
        self._text: list[str] | None = None  # the parts of the open segment; None: outside of segments
        self._codes = 0  # the number of open elements with codes

    def take(self) -> list[tuple[str, ...]]:
        """Return the rows of the units that were completed since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Begin an element."""
        self.unparsed = 0
        if tag == "tu":
            self._segments = {}
        elif tag == "tuv":
            self._language = attributes.get(_LANGUAGE, attributes.get("lang", "")).lower()
            self.found.add(self._language)
        elif tag == "seg":
            self._text, self.length = [], 0
        self._codes += tag in _CODES

    def data(self, text: str) -> None:
        """Add text to the segment."""
        self.unparsed = 0
        if self._text is not None and not self._codes:
            self._text.append(text)
            self.length += len(text)

    def end(self, tag: str) -> None:
        """End an element."""
        self.unparsed = 0
        self._codes -= tag in _CODES
        if tag == "seg" and self._text is not None:
            text, self._text = " ".join("".join(self._text).split()), None
            self.length = 0
            for language in self._languages:
                if self._language == language or self._language.startswith((f"{language}-", f"{language}_")):
                    self._segments.setdefault(language, text)
        elif tag == "tu":
            self._rows.append(tuple(self._segments.get(language, "") for language in self._languages))
            self.has_complete = self.has_complete or all(self._rows[-1])

    def close(self) -> None:
        """End the document."""
