"""Split lines into words, and words into subwords and leaves."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import seqx
from seqx_parsing.cleaning import unescape
from seqx_parsing.reader import SPACE
from seqx_parsing.tree import UNTAGGED, Leaf

MAX_SUBWORDS = 64
"""Maximum number of subwords of one word that the model reads. The tree always has the whole word."""

_SPACE = re.compile(f"{SPACE}+")
_CUTS = ({".", "!", "?"}, {";", ":", "--"}, {","})  # sentences are split after these words, if possible

# Straight double quotes are missing here: NLTK's tokenizer finds out if they open or close.
_REPLACED = str.maketrans({"“": "``", "”": "''", "‘": "` ", "’": "'", "—": "--", "…": "..."})  # noqa: RUF001
"""Typographic characters and their replacements in the Penn Treebank."""


class Subwords(NamedTuple):
    """The subwords of a sentence."""

    ids: list[int]
    starts: list[int]  # 1 for each subword that begins a word, else 0


def split_words(line: str) -> list[str]:
    """Return the words of a line; ASCII white space separates them."""
    return [word for word in _SPACE.split(line) if word]


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
    """Return a function that splits lines of running text into sentences; a line without any is one.

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


def untagged_leaves(words: Iterable[str]) -> list[Leaf]:
    """Return words as leaves without parts of speech."""
    return [Leaf(UNTAGGED, word) for word in words]


def tagged_leaves(words: Iterable[str]) -> list[Leaf]:
    """Return words of the form `barks_VBZ` as leaves with parts of speech.

    Raises:
        UserError: a word has no part of speech
    """
    leaves = []
    for pair in words:
        word, _, tag = pair.rpartition("_")
        if not word or not tag:
            raise seqx.UserError(
                f"{pair!r} has no part-of-speech tag; because task.tags is given, write each word with "
                "its tag, as in barks_VBZ"
            )
        leaves.append(Leaf(tag, word))
    return leaves


def encode_words(words: Iterable[str], encode: Callable[[str], Sequence[int]], unknown: int) -> Subwords:
    """Encode each word separately, as at least one subword."""
    ids: list[int] = []
    starts: list[int] = []
    for word in words:
        tokens = encode(unescape(word)) or [unknown]
        ids += tokens
        starts += [1, *[0] * (len(tokens) - 1)]
    return Subwords(ids, starts)


def split_sentence(words: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> list[Sequence[str]]:
    """Split a sentence into parts that fit, after punctuation where possible."""
    parts: list[Sequence[str]] = []
    start = 0
    while start < len(words):
        low, high = 1, len(words) - start  # bisect for the longest part that fits
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(words[start : start + middle]) else (low, middle - 1)
        end = start + low
        if end < len(words):
            half = start + low // 2
            cuts = (i + 1 for marks in _CUTS for i in reversed(range(half, end)) if words[i] in marks)
            end = next(cuts, end)
        parts.append(words[start:end])
        start = end
    return parts
