"""Segmentations drawn at random: what is drawn depends on the generator that is given, and on nothing else.

SentencePiece draws with a generator of its own, whose seed is salted in each process; here equal seeds draw
equal segmentations everywhere. Both classes take a word as SentencePiece's models see it, a space written as
U+2581, and return its pieces; a character that has no piece is returned as it is.
"""

import heapq
import math
import random
from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple, Protocol

_UNKNOWN_PENALTY = 10.0  # below the score of the rarest piece, as in SentencePiece
_MOST_KNOWN = 8192  # words whose sums are kept: the first, which are the frequent ones
_LONGEST_KNOWN = 32  # characters; in text without spaces a line is one word, which does not come again


class Segmentation(Protocol):
    """Draws one of the ways to write a word in pieces."""

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """The pieces of `word`, in order."""


class _Ends(NamedTuple):
    """The pieces that can end at a place of a word, and the share of each, summed up."""

    starts: list[int]
    sums: list[float]


class Unigram:
    """Draws from a unigram language model of pieces (Kudo 2018, section 3.2).

    The probability of a segmentation is proportional to the product of its pieces' probabilities, each to the
    power of `alpha`; it is drawn exactly, by forward filtering and backward sampling over all segmentations.

    Args:
        scores: log probability of each piece; at least one
        alpha: 1 draws from the model, 0 makes all segmentations equally likely
    """

    def __init__(self, scores: Mapping[str, float], alpha: float) -> None:
        self._weights = {piece: alpha * score for piece, score in scores.items()}
        self._unknown = alpha * (min(scores.values()) - _UNKNOWN_PENALTY)
        self._longest = max(map(len, scores))
        self._known: dict[str, list[_Ends]] = {}

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """The pieces of `word`, in order."""
        ends = self._known.get(word)
        if ends is None:
            ends = self._filtered(word)
            if len(self._known) < _MOST_KNOWN and len(word) <= _LONGEST_KNOWN:
                self._known[word] = ends
        pieces = []
        end = len(word)
        while end:
            starts, sums = ends[end]
            start = starts[bisect(sums, rng.random() * sums[-1], hi=len(sums) - 1)]
            pieces.append(word[start:end])
            end = start
        return pieces[::-1]

    def _filtered(self, word: str) -> list[_Ends]:
        total = [0.0]  # log of the summed weights of all segmentations up to a place
        ends = [_Ends([], [])]
        for end in range(1, len(word) + 1):
            starts, logs = [], []
            for start in range(max(0, end - self._longest), end):
                weight = self._weights.get(word[start:end])
                if weight is None and start == end - 1:
                    weight = self._unknown
                if weight is not None:
                    starts.append(start)
                    logs.append(total[start] + weight)
            largest = max(logs)
            sums = list(accumulate(math.exp(log - largest) for log in logs))
            total.append(largest + math.log(sums[-1]))
            ends.append(_Ends(starts, sums))
        return ends


class Merges:
    """Byte pairs merged in the order they were learnt, some left out.

    This is BPE-dropout (Provilkov et al. 2020, section 3). A pair that was left out comes back when one of
    its sides has grown.

    Args:
        scores: of each piece; the pair that makes the highest is merged first, of equal ones the leftmost
        dropout: the share of merges that is left out
    """

    def __init__(self, scores: Mapping[str, float], dropout: float) -> None:
        self._scores = scores
        self._dropout = dropout

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """The pieces of `word`, in order."""
        pieces = list(word)  # the piece that starts here; "" once it was merged into the one before
        after = [*range(1, len(word)), -1]
        before = [*range(-1, len(word) - 1)]
        waiting: list[tuple[float, int, int, str]] = []

        def consider(left: int, right: int) -> None:
            if left >= 0 and right >= 0:
                merged = pieces[left] + pieces[right]
                if (score := self._scores.get(merged)) is not None:
                    heapq.heappush(waiting, (-score, left, right, merged))

        for left, right in enumerate(after):
            consider(left, right)
        while waiting:
            _, left, right, merged = heapq.heappop(waiting)
            stale = not pieces[left] or not pieces[right] or pieces[left] + pieces[right] != merged
            if stale or rng.random() < self._dropout:
                continue
            pieces[left], pieces[right] = merged, ""
            after[left] = after[right]
            if after[left] >= 0:
                before[after[left]] = left
            consider(before[left], left)
            consider(left, after[left])
        return [piece for piece in pieces if piece]
