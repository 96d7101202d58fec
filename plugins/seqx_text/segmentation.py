"""Sampling of subword segmentations, determined by the given random generator alone.

SentencePiece samples with its own generator, whose seed is salted per process. Here equal seeds give equal
segmentations everywhere. Both classes take a word in SentencePiece's notation, with U+2581 for a space, and
return its pieces. A character without a piece is returned unchanged.
"""

import heapq
import math
import random
from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple, Protocol

_UNKNOWN_PENALTY = 10.0  # score difference to the rarest piece, as in SentencePiece
_MAX_CACHED_WORDS = 8192  # number of cached words: the first ones, which are mostly frequent
_MAX_CACHED_LENGTH = (
    32  # maximum characters of a cached word; longer ones (lines without spaces) rarely repeat
)


class Segmentation(Protocol):
    """Samples one segmentation of a word into pieces."""

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """Return the pieces of `word`, in order."""


class _Ends(NamedTuple):
    """The pieces that can end at one position of a word: their starts, and their cumulative weights."""

    starts: list[int]
    sums: list[float]


class Unigram:
    """Samples from a unigram language model of pieces (Kudo 2018, section 3.2).

    The probability of a segmentation is proportional to the product of its pieces' probabilities, each to the
    power of `alpha`. Sampling is exact: forward filtering and backward sampling over all segmentations.

    Args:
        scores: log probability of each piece; at least one piece
        alpha: 1 samples from the model, 0 makes all segmentations equally likely
    """

    def __init__(self, scores: Mapping[str, float], alpha: float) -> None:
        self._weights = {piece: alpha * score for piece, score in scores.items()}
        self._unknown = alpha * (min(scores.values()) - _UNKNOWN_PENALTY)
        self._longest = max(map(len, scores))
        self._cache: dict[str, list[_Ends]] = {}

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """Return the pieces of `word`, in order."""
        ends = self._cache.get(word)
        if ends is None:
            ends = self._filtered(word)
            if len(self._cache) < _MAX_CACHED_WORDS and len(word) <= _MAX_CACHED_LENGTH:
                self._cache[word] = ends
        pieces = []
        end = len(word)
        while end:
            starts, sums = ends[end]
            start = starts[bisect(sums, rng.random() * sums[-1], hi=len(sums) - 1)]
            pieces.append(word[start:end])
            end = start
        return pieces[::-1]

    def _filtered(self, word: str) -> list[_Ends]:
        total = [0.0]  # log of the summed weights of all segmentations up to each position
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
    """Byte pair encoding with merges dropped at random (BPE-dropout; Provilkov et al. 2020, section 3).

    A dropped pair is considered again once one of its sides has grown.

    Args:
        scores: score of each piece; the highest merge comes first, of equal ones the leftmost
        dropout: probability of dropping a merge
    """

    def __init__(self, scores: Mapping[str, float], dropout: float) -> None:
        self._scores = scores
        self._dropout = dropout

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """Return the pieces of `word`, in order."""
        pieces = list(
            word
        )  # the piece that starts at each position; "" once it is merged into the previous one
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
