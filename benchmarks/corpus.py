"""Generated sentence pairs with the lengths of WMT: as text for data preparation, as ids for training.

Lengths are log-normal and correlated. In 10,000 pairs of WMT's English and German training text the
standard deviation of the logarithm of the number of words is 0.53, and that of the logarithm of the ratio
of both sides is 0.26 to 0.41. With 37,000 BPE symbols a sentence has about 28 tokens. Symbols have Zipf's
frequencies.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.paths import REAL_TEXT
from seqx.data.ragged import Ragged
from seqx.data.store import Store, Writer
from seqx.interfaces.tensors import EOS, UNK
from seqx.storage.text_lines import read_lines

Integers = NDArray[np.integer[Any]]

MEAN = 27
"""The mean number of tokens of a sentence, without EOS."""

_SPREAD, _RATIO = 0.53, 0.3
_BLOCK = 20_000  # pairs that are generated at once


def lengths(rng: np.random.Generator, pairs: int, *, mean: float = MEAN, longest: int = 255) -> Integers:
    """Draw the lengths [pairs, 2] of both sides, without EOS."""
    location = np.log(mean) - (_SPREAD**2) / 2
    center = rng.normal(location, (_SPREAD**2 - _RATIO**2 / 4) ** 0.5, pairs)
    half_difference = rng.normal(0, _RATIO / 2, pairs)
    both = np.exp(np.stack([center - half_difference, center + half_difference], 1))
    return both.round().clip(1, longest).astype(np.int64)


def zipf(rng: np.random.Generator, count: int, symbols: int) -> Integers:
    """Draw `count` numbers below `symbols`; number n has a frequency proportional to 1 / (n + 1)."""
    frequencies = np.cumsum(1 / np.arange(1, symbols + 1))
    return np.searchsorted(frequencies, rng.random(count) * frequencies[-1])


def store(folder: Path, *, pairs: int, vocabulary: int, mean: float = MEAN, seed: int = 1) -> Store:
    """Write prepared data of generated examples into an empty folder."""
    rng = np.random.default_rng(seed)
    writer = Writer(folder)
    for first in range(0, pairs, _BLOCK):
        sides = lengths(rng, min(_BLOCK, pairs - first), mean=mean).T + 1
        columns = {}
        for name, side in zip(("source", "target"), sides, strict=True):
            values = zipf(rng, int(side.sum()), vocabulary - UNK - 1) + UNK + 1
            values[np.cumsum(side) - 1] = EOS
            columns[name] = Ragged.of(values, side)
        writer.add(columns, {})
    writer.finish(rows=pairs, dropped={}, leaks={}, identity=f"generated-{pairs}-{vocabulary}-{seed}")
    return Store.open(folder)


def sentences(rng: np.random.Generator, pairs: int, *, mean: float = 24) -> Iterator[tuple[str, str]]:
    """Yield pairs of sentences of invented words, at most 120 in each sentence."""
    vocabulary = np.array(words())
    for first in range(0, pairs, _BLOCK):
        sides = lengths(rng, min(_BLOCK, pairs - first), mean=mean, longest=120).ravel()
        text = vocabulary[zipf(rng, int(sides.sum()), len(vocabulary))].tolist()
        ends = np.cumsum(sides).tolist()
        lines = [" ".join(text[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        yield from zip(lines[::2], lines[1::2], strict=True)


def recombined(data: Path, pairs: int, *, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Yield pairs of real English and German sentences, 26 words on average, and none of them twice.

    Half of the pairs begin with a sentence of news, the others with two sentences of Tatoeba. All of them end
    with a sentence of Tatoeba and a number. Numbers are words that occur once, like the many rare words of
    a large corpus.

    Args:
        data: a folder with the folders `wmt_news` and `tatoeba_en_de`
        pairs: number of pairs
        seed: seed of the choice of sentences
    """
    news, everyday = (
        [*zip(*(read_lines(data / name / f"train.{side}.gz") for side in ("en", "de")), strict=True)]
        for name in REAL_TEXT
    )
    rng = np.random.default_rng(seed)
    for first in range(0, pairs, _BLOCK):
        choices = rng.integers(0, (2, len(news), *[len(everyday)] * 3), (_BLOCK, 5)).tolist()
        for number, (is_news, a, b, c, d) in enumerate(choices[: pairs - first], first):
            chosen = [news[a], everyday[d]] if is_news else [everyday[b], everyday[c], everyday[d]]
            source, target = (" ".join(side) for side in zip(*chosen, strict=True))
            yield f"{source} {number:,}", f"{target} {number:,}"


def words(count: int = 50_000) -> list[str]:
    """Return invented words, short ones first, because frequent words are short."""
    rng = random.Random(7)  # noqa: S311
    onsets = ["", *"bdfghklmnprstvwz", "br", "ch", "fl", "gr", "kn", "pl", "sch", "sp", "st", "tr"]
    nuclei = ["a", "e", "i", "o", "u", "ä", "ö", "ü", "au", "ei", "ie", "ea"]
    codas = ["", *"lmnrst", "ch", "ck", "ng", "nd", "rt", "st"]
    unique: dict[str, None] = {}
    while len(unique) < count:
        syllables = 1 + (len(unique) > 1000) + (len(unique) > 10_000)
        parts = (rng.choice(onsets) + rng.choice(nuclei) + rng.choice(codas) for _ in range(syllables))
        unique["".join(parts)] = None
    return list(unique)
