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
_MAX_CACHED_WORDS = 8192  # words; the first ones are cached, because frequent words occur early
_MAX_CACHED_LENGTH = 32  # characters of a cached word; longer ones (lines without spaces) rarely repeat


class Segmentation(Protocol):
    """Samples one segmentation of a word into pieces."""

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """Return the pieces of `word`, in order."""


class _Ends(NamedTuple):
    """The pieces that can end at one position of a word: their starts and cumulative weights."""

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
            ends = self._forward(word)
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

    def _forward(self, word: str) -> list[_Ends]:
        """Return the forward weights of the pieces that can end at each position."""
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
        scores: score of each piece; merges are made in descending order of score, equal ones from the left
        dropout: probability of dropping a merge
    """

    def __init__(self, scores: Mapping[str, float], dropout: float) -> None:
        self._scores = scores
        self._dropout = dropout

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """Return the pieces of `word`, in order."""
        # the piece that starts at each position; "" once it is merged into the previous one
        pieces = list(word)
        following = [*range(1, len(word)), -1]
        preceding = [*range(-1, len(word) - 1)]
        queue: list[tuple[float, int, int, str]] = []

        def push(left: int, right: int) -> None:
            if left >= 0 and right >= 0:
                merged = pieces[left] + pieces[right]
                if (score := self._scores.get(merged)) is not None:
                    heapq.heappush(queue, (-score, left, right, merged))

        for left, right in enumerate(following):
            push(left, right)
        while queue:
            _, left, right, merged = heapq.heappop(queue)
            stale = not pieces[left] or not pieces[right] or pieces[left] + pieces[right] != merged
            if stale or rng.random() < self._dropout:
                continue
            pieces[left], pieces[right] = merged, ""
            following[left] = following[right]
            if following[left] >= 0:
                preceding[following[left]] = left
            push(preceding[left], left)
            push(left, following[left])
        return [piece for piece in pieces if piece]
