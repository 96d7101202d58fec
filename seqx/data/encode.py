"""A block of rows as columns of numbers: what each process of preparation does."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqx.data.store import Ragged, smallest
from seqx.interfaces.text import Task
from seqx.interfaces.values import Dropped, Example

Row = tuple[str, ...]

LEAK = "leak"
"""The reason under which rows that are shared with other splits are dropped."""


@dataclass
class Shared:
    """How many rows share something with another split."""

    rows: int = 0  # the whole row
    sides: list[int] = field(default_factory=list)  # one column of it, by the column's place

    def add(self, other: "Shared") -> None:
        """Count the rows of another block, too."""
        self.rows += other.rows
        places = max(len(self.sides), len(other.sides))
        pad = [0] * places
        self.sides = [a + b for a, b, _ in zip(self.sides + pad, other.sides + pad, pad, strict=False)]


class Leaks:
    """Finds what a split shares with another, case and white space aside; empty text never counts."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: set[Row] = set()
        self._sides: list[set[str]] = []
        for row in rows:
            folded = _folded(row)
            self._rows.add(folded)
            self._sides.extend(set() for _ in folded[len(self._sides) :])
            for side, text in zip(self._sides, folded, strict=False):
                side.add(text)
        for side in self._sides:
            side.discard("")

    def count(self, folded: Row, shared: Shared) -> bool:
        """Count a row, given as `_folded` gives it, in `shared`; whether it shares anything."""
        hits = [text in side for side, text in zip(self._sides, folded, strict=False)]
        if not any(hits):
            return False
        shared.rows += folded in self._rows
        shared.add(Shared(0, list(map(int, hits))))
        return True


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
    leaks: Mapping[str, Leaks]
    drop_leaks: bool

    def __call__(self, rows: Sequence[Row]) -> Block:
        """The examples of some rows, in their order."""
        dropped = Counter[str]()
        shared = {split: Shared() for split in self.leaks}
        examples: list[Example] = []
        hashes: list[int] = []
        for row in rows:
            example = self.task.example(row, training=self.training)
            if isinstance(example, Dropped):
                dropped[example.reason] += 1
                continue
            if self._leaks(row, shared) and self.drop_leaks:
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

    def _leaks(self, row: Row, shared: Mapping[str, Shared]) -> bool:
        if not self.leaks:
            return False
        folded = _folded(row)
        found = [leaks.count(folded, shared[split]) for split, leaks in self.leaks.items()]
        return any(found)


def _names(examples: Sequence[Example], part: str) -> list[str]:
    """The columns, which all examples of a task must have."""
    names = list(getattr(examples[0], part)) if examples else []
    for example in examples:
        if list(getattr(example, part)) != names:
            raise ValueError(f"a task's examples differ in {part}: {names}, {list(getattr(example, part))}")
    return names


def _numbers(rows: Sequence[Sequence[int]]) -> Ragged:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    values = np.fromiter((i for row in rows for i in row), np.int64, int(lengths.sum()))
    if values.size and values.min() < 0:
        raise ValueError(f"a task's column holds a negative number: {values.min()}")
    return Ragged.of(smallest(values), lengths)


def _text(rows: Sequence[str]) -> Ragged:
    encoded = [row.encode() for row in rows]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return Ragged.of(np.frombuffer(b"".join(encoded), np.uint8), lengths)


def _folded(row: Row) -> Row:
    return tuple(" ".join(text.casefold().split()) for text in row)


def _hash(row: Row) -> int:
    """64 bits of a row, white space around its columns aside (36 M rows: a collision in 28,000 corpora)."""
    stripped = [text.strip() for text in row]
    key = "\n".join((*map(str, map(len, stripped)), *stripped))
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


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
