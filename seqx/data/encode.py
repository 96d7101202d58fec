"""A block of rows as columns of numbers: what each process of preparation does."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqx.data.store import Ragged, smallest
from seqx.interfaces.text import Task
from seqx.interfaces.values import Example, Rejected

Row = tuple[str, ...]

LEAK = "leak"
"""The reason under which rows that are shared with other splits are dropped."""


@dataclass
class Shared:
    """How many rows share something with another split."""

    rows: int = 0  # the whole row
    sides: list[int] = field(default_factory=list)  # one column of it, by the column's place

    def add(self, other: "Shared") -> None:
        """Count what another block shares, too."""
        self.rows += other.rows
        self.sides = [a + b for a, b in itertools.zip_longest(self.sides, other.sides, fillvalue=0)]


class Leaks:
    """Finds what rows share with other splits, case and white space aside; empty text never counts."""

    def __init__(self, splits: Mapping[str, Iterable[Row]]) -> None:
        self._rows: dict[str, set[Row]] = {}
        self._sides: dict[str, list[set[str]]] = {}
        self._ends: set[str] = set()
        for split, rows in splits.items():
            folded = {_folded(row) for row in rows}
            self._rows[split] = folded
            self._sides[split] = [set(side) - {""} for side in zip(*folded, strict=True)]
            self._ends.update(_ends(text) for row in folded for text in row)

    def count(self, row: Row, shared: Mapping[str, Shared]) -> bool:
        """Count a row in what is shared with each split; whether it shares anything."""
        # To fold whole rows costs a fifth of all preparation, and few rows begin and end as known ones do.
        if all(_ends(text) not in self._ends for text in row):
            return False
        folded, found = _folded(row), False
        for split, sides in self._sides.items():
            hits = [text in side for side, text in zip(sides, folded, strict=False)]
            if any(hits):
                shared[split].add(Shared(folded in self._rows[split], list(map(int, hits))))
                found = True
        return found

    def shared(self) -> dict[str, Shared]:
        """Nothing found yet, by split."""
        return {split: Shared(0, [0] * len(sides)) for split, sides in self._sides.items()}


@dataclass(frozen=True)
class Block:
    """What became of some rows."""

    rows: int
    columns: Mapping[str, Ragged]
    texts: Mapping[str, Ragged]
    hashes: NDArray[np.uint64]  # [examples] of the raw rows
    dropped: Counter[str]
    shared: Mapping[str, Shared]  # by split


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Makes blocks of rows; goes to other processes as it is."""

    task: Task
    training: bool
    text: bool
    leaks: Leaks
    drop_leaks: bool

    def __call__(self, rows: Sequence[Row]) -> Block:
        """The examples of some rows, in their order."""
        dropped = Counter[str]()
        shared = self.leaks.shared()
        examples: list[Example] = []
        hashes: list[int] = []
        for row in rows:
            example = self.task.example(row, training=self.training)
            if isinstance(example, Rejected):
                dropped[example.reason] += 1
                continue
            if self.leaks.count(row, shared) and self.drop_leaks:
                dropped[LEAK] += 1
                continue
            examples.append(example)
            hashes.append(_hash(row))
        columns = {
            name: _numbers([e.columns[name] for e in examples]) for name in _names(examples, "columns")
        }
        texts = {name: _text([e.text[name] for e in examples]) for name in _names(examples, "text")}
        kept = texts if self.text else {}
        return Block(len(rows), columns, kept, np.array(hashes, np.uint64), dropped, shared)


def _names(examples: Sequence[Example], part: str) -> list[str]:
    """The columns, which all examples of a task must have."""
    names = list(getattr(examples[0], part)) if examples else []
    for example in examples:
        if list(getattr(example, part)) != names:
            raise ValueError(f"a task's examples differ in {part}: {names}, {list(getattr(example, part))}")
    return names


def _numbers(rows: Sequence[Sequence[int]]) -> Ragged:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    values = np.fromiter(itertools.chain.from_iterable(rows), np.int64, int(lengths.sum()))
    if values.size and values.min() < 0:
        raise ValueError(f"a task's column holds a negative number: {values.min()}")
    return Ragged.of(smallest(values), lengths)


def _text(rows: Sequence[str]) -> Ragged:
    encoded = [row.encode() for row in rows]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return Ragged.of(np.frombuffer(b"".join(encoded), np.uint8), lengths)


def _folded(row: Row) -> Row:
    return tuple(" ".join(text.casefold().split()) for text in row)


def _ends(text: str) -> str:
    """The first and the last word, folded: of each text, a part of what `_folded` makes of it."""
    words = text.split(None, 1)
    return f"{words[0]} {text.rsplit(None, 1)[-1]}".casefold() if words else ""


def _hash(row: Row) -> int:
    """64 bits of a row, white space around its columns aside (36 M rows: a collision in 28,000 corpora)."""
    key = "\0".join(map(str.strip, row)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


def first_of_each(hashes: NDArray[np.uint64]) -> NDArray[Any]:
    """True where a hash occurs for the first time."""
    ordered = np.sort(hashes)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    keep = np.ones(len(hashes), np.bool_)
    if repeated.size:
        # Only hashes that occur twice are looked at one by one; they are few, and so is the memory for them.
        places = np.concatenate(
            [
                start + np.flatnonzero(_member(hashes[start : start + _CHUNK], repeated))
                for start in range(0, len(hashes), _CHUNK)
            ]
        )
        keep[places] = False
        keep[places[np.unique(hashes[places], return_index=True)[1]]] = True
    return keep


_CHUNK = 1 << 20


def _member(values: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return ordered[np.searchsorted(ordered, values).clip(max=len(ordered) - 1)] == values
