"""From a line of words to what a model reads, and to leaves of a tree."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import seqx
from seqx_parsing.cleaning import shown
from seqx_parsing.reader import SPACE
from seqx_parsing.tree import UNTAGGED, Leaf

LONGEST = 64
"""Most tokens of a word that a model reads. What has more is no word of a language; a tree has it whole."""

_SPACE = re.compile(f"{SPACE}+")
_MARKS = ({".", "!", "?"}, {";", ":", "--"}, {","})  # behind which to cut, the best first

# Straight double quotes are left to the tokenizer, which knows whether they open or close.
_PRINTED = str.maketrans({"“": "``", "”": "''", "‘": "` ", "’": "'", "—": "--", "…": "..."})  # noqa: RUF001
"""Marks of printed text as the Penn Treebank has them."""


class Subwords(NamedTuple):
    """What a model reads of a sentence: tokens, and which of them begin a word."""

    ids: list[int]
    starts: list[int]  # 1 or 0


def split(line: str) -> list[str]:
    """The words of a line, which ASCII white space separates."""
    return [word for word in _SPACE.split(line) if word]


def tokenized(line: str) -> str:
    """Running text as words with spaces between them, those of quotes as the Penn Treebank has them."""
    from nltk.tokenize import TreebankWordTokenizer  # noqa: PLC0415  NLTK takes its time to load

    return " ".join(TreebankWordTokenizer().tokenize(line.translate(_PRINTED)))


def untagged(words: Iterable[str]) -> list[Leaf]:
    """Words as leaves."""
    return [Leaf(UNTAGGED, word) for word in words]


def tagged(words: Iterable[str]) -> list[Leaf]:
    """Words with their parts of speech behind an underscore, as leaves: `barks_VBZ`.

    Raises:
        UserError: a word comes without
    """
    leaves = []
    for whole in words:
        word, _, tag = whole.rpartition("_")
        if not word or not tag:
            raise seqx.UserError(
                f"{whole!r} comes without its part of speech; as task.tags is given, each word needs one, "
                "as in barks_VBZ"
            )
        leaves.append(Leaf(tag, word))
    return leaves


def subwords(words: Iterable[str], encode: Callable[[str], Sequence[int]], unknown: int) -> Subwords:
    """The tokens of words, each encoded by itself and as at least one token."""
    ids: list[int] = []
    starts: list[int] = []
    for word in words:
        tokens = encode(shown(word)) or [unknown]
        ids += tokens
        starts += [1, *[0] * (len(tokens) - 1)]
    return Subwords(ids, starts)


def pieces(words: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> list[Sequence[str]]:
    """A sentence that is too long as parts that fit, cut behind punctuation where possible."""
    found: list[Sequence[str]] = []
    start = 0
    while start < len(words):
        low, high = 1, len(words) - start  # by halving: the longest part that fits
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(words[start : start + middle]) else (low, middle - 1)
        end = start + low
        if end < len(words):
            half = start + low // 2
            cuts = (i + 1 for marks in _MARKS for i in reversed(range(half, end)) if words[i] in marks)
            end = next(cuts, end)
        found.append(words[start:end])
        start = end
    return found
