"""Split lines into words, encode words as subwords, and turn words into leaves."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import seqx
from seqx_parsing.cleaning import unescape
from seqx_parsing.reader import SPACE
from seqx_parsing.tree import UNTAGGED, Leaf

MAX_SUBWORDS = 64
"""Maximum number of subwords of one word that the model reads. The tree always has the whole word."""

_SPACE = re.compile(f"{SPACE}+")
_CUTS = ({".", "!", "?"}, {";", ":", "--"}, {","})  # sentences are split after these words, if possible


class Subwords(NamedTuple):
    """The subwords of a sentence."""

    ids: list[int]
    starts: list[int]  # 1 for each subword that begins a word, else 0


def split_words(line: str) -> list[str]:
    """Return the words of a line; ASCII white space separates them."""
    return [word for word in _SPACE.split(line) if word]


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


def split_sentence(
    words: Sequence[str],
    fits: Callable[[Sequence[str]], bool],
    leaves: Sequence[Leaf],
) -> list[Sequence[str]]:
    """Split a sentence into parts that fit, after punctuation where possible.

    Args:
        words: the words of the sentence as in the input, such as `barks_VBZ`
        fits: returns true if some of the words are a part that fits
        leaves: the leaf of each word
    """
    parts: list[Sequence[str]] = []
    start = 0
    while start < len(words):
        # Double the length, then bisect for the longest part that fits: `fits` gets about twice its words.
        low, high, remaining = 1, 2, len(words) - start
        while high <= remaining and fits(words[start : start + high]):
            low, high = high, 2 * high
        high = min(high, remaining + 1)
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(words[start : start + middle]) else (low, middle)
        end = start + low
        if end < len(words):
            half = start + low // 2
            cuts = (i + 1 for marks in _CUTS for i in reversed(range(half, end)) if leaves[i].word in marks)
            end = next(cuts, end)
        parts.append(words[start:end])
        start = end
    return parts
