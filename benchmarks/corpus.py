"""Generated pairs of WMT's lengths: as words for preparation, as ids for training.

Lengths are log-normal, and the two sides' alike: over 10,000 pairs of WMT's English and German training text
the logarithm of the number of words has a standard deviation of 0.53, and the ratio of the two sides one of
0.26 to 0.41. In BPE of 37,000 symbols a side has some 28 tokens. Symbols have Zipf's frequencies.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqx.data.store import Ragged, Store, Writer
from seqx.interfaces.tensors import EOS, UNK

Integers = NDArray[np.integer[Any]]

_SPREAD, _RATIO = 0.53, 0.3
_BLOCK = 20_000  # pairs made at once


def lengths(rng: np.random.Generator, pairs: int, *, mean: float = 27, longest: int = 255) -> Integers:
    """Lengths [pairs, 2] of both sides, EOS not counted."""
    location = np.log(mean) - (_SPREAD**2) / 2
    middle = rng.normal(location, (_SPREAD**2 - _RATIO**2 / 4) ** 0.5, pairs)
    apart = rng.normal(0, _RATIO / 2, pairs)
    both = np.exp(np.stack([middle - apart, middle + apart], 1))
    return both.round().clip(1, longest).astype(np.int64)


def zipf(rng: np.random.Generator, count: int, symbols: int) -> Integers:
    """Numbers below `symbols`, the smaller the more frequent."""
    frequencies = np.cumsum(1 / np.arange(1, symbols + 1))
    return np.searchsorted(frequencies, rng.random(count) * frequencies[-1])


def store(folder: Path, *, pairs: int, vocabulary: int, mean: float = 27, seed: int = 1) -> Store:
    """A store of examples in an empty folder."""
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
    """Pairs of made-up sentences of at most 120 words a side."""
    known = np.array(words())
    for first in range(0, pairs, _BLOCK):
        sides = lengths(rng, min(_BLOCK, pairs - first), mean=mean, longest=120).ravel()
        text = known[zipf(rng, int(sides.sum()), len(known))].tolist()
        ends = np.cumsum(sides).tolist()
        lines = [" ".join(text[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        yield from zip(lines[::2], lines[1::2], strict=True)


def words(count: int = 50_000) -> list[str]:
    """Made-up words, short ones first, as frequent words are short."""
    rng = random.Random(7)  # noqa: S311
    onsets = ["", *"bdfghklmnprstvwz", "br", "ch", "fl", "gr", "kn", "pl", "sch", "sp", "st", "tr"]
    nuclei = ["a", "e", "i", "o", "u", "ä", "ö", "ü", "au", "ei", "ie", "ea"]
    codas = ["", *"lmnrst", "ch", "ck", "ng", "nd", "rt", "st"]
    made: dict[str, None] = {}
    while len(made) < count:
        syllables = 1 + (len(made) > 1000) + (len(made) > 10_000)
        parts = (rng.choice(onsets) + rng.choice(nuclei) + rng.choice(codas) for _ in range(syllables))
        made["".join(parts)] = None
    return list(made)
