"""Sampling of subword segmentations that depends on the passed random generator alone.

SentencePiece samples with its own generator, whose seed differs between processes. Here equal seeds give
equal segmentations in every process. Both samplers take a word in SentencePiece's notation, with U+2581 for a
space, and return its subwords. A character that is not in the vocabulary is returned unchanged.
"""

import heapq
import math
import random
from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple, Protocol

_UNKNOWN_PENALTY = (
    10.0  # how far the score of an unknown character is below the lowest score, as in SentencePiece
)
_MAX_CACHED_WORDS = 8192  # words; the first ones are cached, because frequent words occur early
_MAX_CACHED_LENGTH = 32  # characters of a cached word; longer ones (lines without spaces) rarely repeat


class Segmentation(Protocol):
    """A sampler of segmentations of words into subwords."""

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """Sample a segmentation of `word`, and return its subwords in order."""


class _Ends(NamedTuple):
    """The subwords that can end at one position of a word: their starts and cumulative weights."""

    starts: list[int]
    sums: list[float]


class Unigram:
    """A sampler that uses a unigram language model of subwords (Kudo 2018, section 3.2).

    The probability of a segmentation is proportional to the product of its subwords' probabilities, each to
    the power of `alpha`. Sampling is exact: forward filtering and backward sampling over all segmentations.

    Args:
        scores: log probability of each subword; at least one subword
        alpha: 1 samples from the model, 0 makes all segmentations equally likely
    """

    def __init__(self, scores: Mapping[str, float], alpha: float) -> None:
        self._weights = {subword: alpha * score for subword, score in scores.items()}
        self._unknown = alpha * (min(scores.values()) - _UNKNOWN_PENALTY)
        self._longest = max(map(len, scores))
        self._cache: dict[str, list[_Ends]] = {}

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """Return the subwords of `word`, in order."""
        ends = self._cache.get(word)
        if ends is None:
            ends = self._forward(word)
            if len(self._cache) < _MAX_CACHED_WORDS and len(word) <= _MAX_CACHED_LENGTH:
                self._cache[word] = ends
        subwords = []
        end = len(word)
        while end:
            starts, sums = ends[end]
            start = starts[bisect(sums, rng.random() * sums[-1], hi=len(sums) - 1)]
            subwords.append(word[start:end])
            end = start
        return subwords[::-1]

    def _forward(self, word: str) -> list[_Ends]:
        """Return the forward weights of the subwords that can end at each position."""
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
    """A sampler that drops merges of byte pair encoding (BPE-dropout; Provilkov et al. 2020, section 3).

    Whether two neighbours are merged is drawn once. If their merge is dropped, they stay separate until one
    of them is merged with its other neighbour. The merge of the new neighbours is then drawn separately.

    Args:
        scores: score of each subword; merges with a higher score come first, those with equal scores from
            left to right
        dropout: probability of dropping a merge
    """

    def __init__(self, scores: Mapping[str, float], dropout: float) -> None:
        self._scores = scores
        self._dropout = dropout

    def draw(self, word: str, rng: random.Random) -> list[str]:
        """Return the subwords of `word`, in order."""
        # the subword that starts at each position; "" after it was merged with the preceding one
        subwords = list(word)
        following = [*range(1, len(word)), -1]
        preceding = [*range(-1, len(word) - 1)]
        queue: list[tuple[float, int, int, str]] = []

        def push(left: int, right: int) -> None:
            if left >= 0 and right >= 0:
                merged = subwords[left] + subwords[right]
                if (score := self._scores.get(merged)) is not None:
                    heapq.heappush(queue, (-score, left, right, merged))

        for left, right in enumerate(following):
            push(left, right)
        while queue:
            _, left, right, merged = heapq.heappop(queue)
            stale = not subwords[left] or not subwords[right] or subwords[left] + subwords[right] != merged
            if stale or rng.random() < self._dropout:
                continue
            subwords[left], subwords[right] = merged, ""
            following[left] = following[right]
            if following[left] >= 0:
                preceding[following[left]] = left
            push(preceding[left], left)
            push(left, following[left])
        return [subword for subword in subwords if subword]
