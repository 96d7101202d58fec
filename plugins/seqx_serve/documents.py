"""Texts and HTML pages as inputs of a model, and the documents with its answers."""

import html
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Literal

_UNTRANSLATED = {"script", "style", "code", "pre", "noscript", "template"}
_WITHOUT_END = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
_MAX_TAGS = 4_000

# Elements whose end tags may be left out, with the start tags that end them (HTML standard, 13.1.2.4).
_ENDED_BY = {
    name: frozenset(starts.split())
    for names, starts in {
        "p": (
            "address article aside blockquote details dialog div dl fieldset figcaption figure footer form "
            "h1 h2 h3 h4 h5 h6 header hgroup hr main menu nav ol p pre search section table ul"
        ),
        "li": "li",
        "dt dd": "dt dd",
        "td th": "td th tr tbody tfoot thead",
        "tr": "tr tbody tfoot thead",
        "tbody tfoot thead": "tbody tfoot thead",
        "option": "option optgroup hr",
        "optgroup": "optgroup hr",
    }.items()
    for name in names.split()
}
# A tag in one of these elements does not end such an element that contains it.
_SCOPES = {
    *("article", "aside", "blockquote", "body", "button", "dl", "fieldset", "figure", "footer", "form"),
    *("header", "main", "menu", "nav", "object", "ol", "section", "select", "table", "template", "ul"),
}
# Markup that the parser returns as text: a tag without a name, and a tag or comment without an end. Browsers
# do not show such markup.
_STRAY = re.compile(r"(</>|<(?:[!?]|/?[A-Za-z]).*)", re.DOTALL)
_REFERENCE = re.compile(r"(&#?\w+;?)")  # a character that is written as a name or a number


@dataclass(frozen=True)
class Document:
    """A document as a list of strings, some of which are inputs."""

    strings: Sequence[str]
    inputs: Sequence[int]  # the indices of the inputs
    is_html: bool = False

    @property
    def texts(self) -> list[str]:
        """The inputs."""
        return [self.strings[i] for i in self.inputs]

    def filled(self, answers: Sequence[str]) -> str:
        """Return the document with an answer in the place of each input."""
        strings = [*self.strings]
        for i, answer in zip(self.inputs, answers, strict=True):
            strings[i] = html.escape(answer, quote=False) if self.is_html else answer
        return ("" if self.is_html else "\n").join(strings)


def read_document(text: str, format_: Literal["text", "html"]) -> Document:
    """Return the document of a text or of an HTML page.

    The inputs of a text are its lines. The inputs of a page are the texts between its tags.

    Raises:
        ValueError: the page has too many tags
    """
    if format_ == "text":
        lines = text.replace("\r\n", "\n").split("\n")
        return Document(lines, range(len(lines)))
    if text.count("<") > _MAX_TAGS:  # the time of the parser may grow with the square of their number
        raise ValueError(f"the page has more than {_MAX_TAGS:,} tags; send it in parts")
    reader = _PageReader(text)
    return Document(reader.strings, reader.inputs, is_html=True)


class _PageReader(HTMLParser):
    """Splits a page into markup and the texts between markup. The joined strings are the page.

    The parser calls a method at the start of each tag, comment and text. Each of these ends where
    the next one starts, and is copied from the page unchanged.

    Args:
        page: the page
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.strings: list[str] = []
        self.inputs: list[int] = []
        self._page = page
        self._lines = [0, *(match.end() for match in re.finditer("\n", page))]
        self._start = 0  # of the current markup or text
        self._is_text = True
        self._open: list[str] = []  # the open elements
        self._skipped: int | None = None  # the index of the one whose texts are not translated
        self.feed(page)
        self.close()
        self._add(len(page))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a tag, and note if it begins an element that is not translated."""
        self._begin()
        self._end_omitted(tag)
        if tag in _WITHOUT_END:
            return
        is_skipped = tag in _UNTRANSLATED or any(
            name == "translate" and (value or "").lower() == "no" for name, value in attrs
        )
        if self._skipped is None and is_skipped:
            self._skipped = len(self._open)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Begin a tag that ends the last open element of its name, and all elements in it."""
        self._begin()
        for i in reversed(range(len(self._open))):
            if self._open[i] == tag:
                self._end(i)
                return
            if tag in _ENDED_BY and self._open[i] in _SCOPES:
                return

    def _end_omitted(self, tag: str) -> None:
        """End the elements whose end tags were left out before the start tag of an element."""
        first = len(self._open)
        for i in reversed(range(len(self._open))):
            if tag in _ENDED_BY.get(self._open[i], ()):
                first = i
            elif self._open[i] in _SCOPES:
                break
        self._end(first)

    def _end(self, index: int) -> None:
        """End an open element and all elements in it."""
        del self._open[index:]
        if self._skipped is not None and self._skipped >= index:
            self._skipped = None

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a self-closing tag."""
        self._begin()

    def handle_comment(self, data: str) -> None:
        """Begin a comment."""
        self._begin()

    def handle_decl(self, decl: str) -> None:
        """Begin a declaration."""
        self._begin()

    def unknown_decl(self, data: str) -> None:
        """Begin a marked section."""
        self._begin()

    def handle_pi(self, data: str) -> None:
        """Begin a processing instruction."""
        self._begin()

    def handle_data(self, data: str) -> None:
        """Begin or continue a text."""
        self._begin_text()

    def handle_entityref(self, name: str) -> None:
        """Begin or continue a text with a character that is written as a name, such as &amp;."""
        self._begin_text()

    def handle_charref(self, name: str) -> None:
        """Begin or continue a text with a character that is written as a number, such as &#38;."""
        self._begin_text()

    def _begin_text(self) -> None:
        if not self._is_text:
            self._begin()
            self._is_text = True

    def _begin(self) -> None:
        line, column = self.getpos()
        self._add(self._lines[line - 1] + column)
        self._is_text = False

    def _add(self, end: int) -> None:
        """Add the markup or the text before an index. White space around a text is not part of the input."""
        source = self._page[self._start : end]
        self._start = end
        parts = _STRAY.split(source) if self._is_text else ["", source]
        for text, markup in itertools.zip_longest(parts[::2], parts[1::2], fillvalue=""):
            self._add_text(text)
            self.strings.append(markup)

    def _add_text(self, source: str) -> None:
        before, text, after = _split_white_space(source)
        if text and self._skipped is None:
            self.inputs.append(len(self.strings) + 1)
            self.strings += before, html.unescape(text), after
        else:
            self.strings.append(source)


def _split_white_space(source: str) -> tuple[str, str, str]:
    """Return the white space before a text, the text, and the white space after it, all as in the page.

    White space may be written as character references, such as &nbsp; and &#32;.
    """
    parts = _REFERENCE.split(source)  # characters and references in turn, which are one character each
    units = [unit for i, part in enumerate(parts) for unit in ([part] if i % 2 else part)]
    visible = [i for i, unit in enumerate(units) if html.unescape(unit).strip()]
    if not visible:
        return source, "", ""
    first, end = visible[0], visible[-1] + 1
    return "".join(units[:first]), "".join(units[first:end]), "".join(units[end:])
