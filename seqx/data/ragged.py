"""Ragged arrays: the rows of a column, one after the other in one array."""

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from seqx.interfaces.task import Values

UNSIGNED = tuple(np.dtype(f"<u{size}") for size in (1, 2, 4, 8))
FLOATS = tuple(np.dtype(f"<f{size}") for size in (2, 4))

Integers = NDArray[np.integer[Any]]
Numbers = NDArray[np.number[Any]]


class Ragged(NamedTuple):
    """A ragged array: rows of different lengths, concatenated in one array."""

    values: Numbers  # [sum of lengths] ids or floats, or [sum of lengths, F] vectors
    offsets: Integers  # [rows + 1]

    @classmethod
    def of(cls, values: Numbers, lengths: Integers) -> Self:
        """Return a ragged array of the concatenated `values` of rows with these lengths."""
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(values, offsets)

    @classmethod
    def of_rows(cls, rows: Sequence[Values]) -> Self:
        """Return a ragged array of the rows of a column: ids, floats, or vectors.

        Raises:
            ValueError: an id is negative, a number is not finite, or vectors have different lengths
        """
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        ids = array("q")
        try:
            for row in rows:
                ids.fromlist(row)  # the fastest way to read lists of ids
        except TypeError:  # floats, vectors, or arrays
            return cls.of(_concatenate([np.asarray(row) for row in rows]), lengths)
        return cls.of(np.array(ids, np.int64), lengths)

    def row(self, i: int) -> Numbers:
        """Return a view of row `i`."""
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def take(self, rows: Integers) -> "Ragged":
        """Return copies of some rows, in the order of the indices `rows`."""
        starts = self.offsets[rows]
        taken = Ragged.of(self.values, self.offsets[rows + 1] - starts)
        shift = np.repeat(starts - taken.offsets[:-1], taken.lengths())
        return Ragged(self.values[np.arange(len(shift)) + shift], taken.offsets)

    def lengths(self) -> Integers:
        """Return the length of each row."""
        return np.diff(self.offsets)

    @property
    def has_ids(self) -> bool:
        """True if the values are ids; false if they are floats or vectors."""
        return self.values.ndim == 1 and self.values.dtype.kind in "iu"


def _concatenate(rows: Sequence[NDArray[Any]]) -> Numbers:
    """Concatenate rows of numbers or of vectors; empty rows fit both."""
    shapes = {row.shape[1:] for row in rows if row.size}
    if len(shapes) > 1 or any(len(shape) > 1 for shape in shapes):
        described = " and ".join(sorted(str(list(shape)) for shape in shapes))
        raise ValueError(f"its values have the shapes {described}; return numbers, or vectors of one length")
    values = np.concatenate([row for row in rows if row.size] or [np.zeros(0, np.int64)])
    if values.dtype.kind not in "biuf":
        raise ValueError(f"its values have the type {values.dtype}; return integers or floats")
    return values


def compact(column: Ragged) -> Ragged:
    """Return a column with values in the smallest type that a store holds.

    Ids become unsigned integers of the smallest size, and other numbers float32, or float16 if they are
    float16 already. Vectors of small non-negative integers, such as the pixels of an image, stay integers.

    Raises:
        ValueError: an id is negative, or a number is not finite
    """
    values = column.values
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # checked below
            values = values.astype(FLOATS[values.dtype.itemsize > FLOATS[0].itemsize], copy=False)
        if not np.isfinite(values).all():
            raise ValueError("it holds a number that is not finite in float32")
    elif values.dtype.kind == "i" and values.size and (least := values.min()) < 0:
        if values.ndim == 1:
            raise ValueError(
                f"it holds a negative number: {least}; ids begin at 0, and other numbers are floats"
            )
        values = values.astype(FLOATS[1])
    else:
        largest = int(values.max()) if values.size else 0
        dtype = next(dtype for dtype in UNSIGNED if largest <= np.iinfo(dtype).max)
        values = values.astype(dtype, copy=False)
    return Ragged(values, column.offsets)
