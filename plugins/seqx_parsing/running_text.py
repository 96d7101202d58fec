"""Split running text into sentences and words, and the options for it."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import click

import seqx

# Straight double quotes are missing here: NLTK's tokenizer finds out if they open or close.
_REPLACED = str.maketrans({"“": "``", "”": "''", "‘": "` ", "’": "'", "—": "--", "…": "..."})  # noqa: RUF001
"""Typographic characters and their replacements in the Penn Treebank."""

_ATTACHED = re.compile(r"""[^\W_][,;:!?]['"”’)]*(?=\s|$)|[^\W_]\.['"”’)]*\s*$|(?:^|\s)["“(]\w""")  # noqa: RUF001
"""Punctuation that a treebank separates from its word; periods only at the end of a line."""


ATTACHED = (
    "inputs look like running text: punctuation is attached to words; separate it by spaces, as "
    "`seqx parse --raw` does"
)
"""The warning about inputs of a parser that are not split into words."""


def has_attached_punctuation(text: str) -> bool:
    """Return true if punctuation that a treebank separates is attached to a word, in words without tags."""
    return _ATTACHED.search(text) is not None


def text_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for running text to a command: `raw`, `language` and `sentences`.

    The command then refuses --language without --raw and --sentences, which would have no effect.
    """

    @wraps(command)
    def checked(*arguments: Any, raw: bool, sentences: bool, language: str | None, **options: Any) -> None:
        if language and not (raw or sentences):
            raise click.UsageError("--language is for running text; add --raw or --sentences")
        command(*arguments, raw=raw, sentences=sentences, language=language or "en", **options)

    for option in (
        click.option(
            "--sentences",
            is_flag=True,
            help="Split lines into sentences first, one tree for each; includes --raw.",
        ),
        click.option(
            "--language",
            metavar="CODE",
            help="Language of running text; en by default. Only with --raw or --sentences.",
        ),
        click.option("--raw", is_flag=True, help="Input is running text: split it into words first."),
    ):
        checked = option(checked)
    return checked


def tokenize(line: str) -> str:
    """Return the words of running text, separated by spaces, with quotes as in the Penn Treebank."""
    from nltk.tokenize import TreebankWordTokenizer  # noqa: PLC0415  NLTK is slow to import

    return " ".join(TreebankWordTokenizer().tokenize(line.translate(_REPLACED)))


def tokenizer(language: str) -> Callable[[str], str]:
    """Return a function that returns the words of running text, separated by spaces.

    English text is split as in the Penn Treebank, text in other languages by the rules of Moses.

    Raises:
        UserError: there are no rules for the language
    """
    if language == "en":
        return tokenize
    from sacremoses import MosesTokenizer  # noqa: PLC0415  slow to import
    from sacremoses.corpus import NonbreakingPrefixes  # noqa: PLC0415

    known = sorted({"en", *NonbreakingPrefixes().available_langs.values()})
    if language not in known:
        raise seqx.UserError(
            f"--language: there are no rules for {language!r}, only for {', '.join(known)}; leave out --raw, "
            "and separate the words by spaces"
        )
    moses = MosesTokenizer(language)

    def split(line: str) -> str:
        return str(moses.tokenize(line, return_str=True, escape=False))

    return split


def sentence_splitter(language: str) -> Callable[[Iterable[str]], Iterator[str]]:
    """Return a function that splits lines of running text into sentences; an empty line stays an empty line.

    Raises:
        UserError: the package sentencex is not installed
    """
    segment = seqx.import_extra("sentencex", "sentences").segment

    def split(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            yield from filter(None, map(str.strip, segment(language, line)))
            if not line.strip():
                yield ""

    return split
