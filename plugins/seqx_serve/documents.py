"""Texts and HTML pages as inputs of a model, and the answers in their places."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Literal

_UNTRANSLATED = {"script", "style", "code", "pre", "noscript", "template"}
_WITHOUT_END = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
_BLANK = re.compile(r"(\s*)(.*?)(\s*)", re.DOTALL)
_MAX_TAGS = 4_000


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
    """Return the document of a text, whose inputs are its lines, or of a page, whose inputs are its texts.

    Raises:
        ValueError: the page has too many tags
    """
    if format_ == "text":
        lines = text.replace("\r\n", "\n").split("\n")
        return Document(lines, range(len(lines)))
    if text.count("<") > _MAX_TAGS:  # the parser's time may grow with their square
        raise ValueError(f"the page has more than {_MAX_TAGS:,} tags; send it in parts")
    reader = _PageReader()
    reader.feed(text)
    reader.close()
    reader.end_text()
    return Document(reader.strings, reader.inputs, is_html=True)


class _PageReader(HTMLParser):
    """Splits a page into markup, which is not changed, and the texts between it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.strings: list[str] = []
        self.inputs: list[int] = []
        self._text = ""
        self._skipped: str | None = None  # the element whose texts are not translated
        self._depth = 0  # number of open elements with its name

    def end_text(self) -> None:
        """Add the text since the last markup, without the spaces around it."""
        match = _BLANK.fullmatch(self._text)
        assert match is not None, "it matches every text"
        before, text, after = match.groups()
        if text and self._skipped is None:
            self.inputs.append(len(self.strings) + 1)
            self.strings += before, html.unescape(text), after
        else:
            self.strings.append(self._text)
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag, and note whether it begins an element that is not translated."""
        self._keep(self.get_starttag_text() or "")
        is_skipped = tag in _UNTRANSLATED or ("translate", "no") in attrs
        if self._skipped is None and is_skipped and tag not in _WITHOUT_END:
            self._skipped = tag
        self._depth += tag == self._skipped

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag that ends itself."""
        self._keep(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        """Keep a tag that ends an element."""
        self._keep(f"</{tag}>")
        self._depth -= tag == self._skipped
        if self._depth == 0:
            self._skipped = None

    def handle_data(self, data: str) -> None:
        """Add text."""
        self._text += data

    def handle_entityref(self, name: str) -> None:
        """Add a character that is written by its name."""
        self._text += f"&{name};"

    def handle_charref(self, name: str) -> None:
        """Add a character that is written as a number."""
        self._text += f"&#{name};"

    def handle_comment(self, data: str) -> None:
        """Keep a comment."""
        self._keep(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        """Keep a declaration."""
        self._keep(f"<!{decl}>")

    def unknown_decl(self, data: str) -> None:
        """Keep a marked section."""
        self._keep(f"<![{data}]>")

    def handle_pi(self, data: str) -> None:
        """Keep a processing instruction."""
        self._keep(f"<?{data}>")

    def _keep(self, markup: str) -> None:
        self.end_text()
        self.strings.append(markup)
