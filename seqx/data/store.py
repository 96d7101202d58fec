"""Prepared examples as memory-mapped columns of unsigned integers, floats, vectors, and UTF-8 text.

A store is a folder with `index.json` and two files per column: the concatenated values of all examples, and
the offset of each example (int64, with one more for the end), all little-endian. The index has the type and
the number of values of each column, and the length of each value if they are vectors ("width").
"""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from seqx.data.ragged import FLOATS, UNSIGNED, Integers, Numbers, Ragged, compact
from seqx.errors import PluginError, UserError
from seqx.storage.bounded_read import read_bounded_json
from seqx.storage.manifest import sha256

FORMAT = 1
"""The format of a store; a store with another format is refused."""

_INDEX = "index.json"
_DTYPES = {dtype.str: dtype for dtype in (*UNSIGNED, *FLOATS)}
_MAX_INDEX_BYTES = 1 << 20
_OFFSET = np.dtype("<i8")
_CHUNK = 1 << 18  # number of examples or values that are copied at once
_MAX_HASHED_BYTES = 1 << 28  # hashes of larger stores are not checked when they are opened


@dataclass(frozen=True)
class Store:
    """Prepared examples in memory-mapped files.

    Opening a store does not read the examples, except to check the hashes of a small store.
    """

    folder: Path
    columns: Mapping[str, Ragged]
    texts: Mapping[str, Ragged]  # UTF-8
    dropped: Mapping[str, int]  # number of dropped rows, by reason
    leaks: Mapping[str, Mapping[str, Any]]  # number of rows that occur in other splits, see `prepare`
    rows: int  # of the corpus, including dropped rows
    identity: str  # the cache key of its inputs
    size: int  # number of examples
    digest: str = ""  # of all bytes; empty if an earlier version of seqx wrote the store

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the store that a `Writer` has finished.

        Raises:
            UserError: the folder is not a store, has another format, or is damaged
        """
        advice = "delete this folder; its examples will be prepared again"
        try:
            index = read_bounded_json(folder / _INDEX, _MAX_INDEX_BYTES)
            if index["format"] != FORMAT:
                raise UserError(f"{folder}: has format {index['format']}, not {FORMAT}; {advice}")
            size = _count(index["examples"])
            columns = {
                name: _open_column(folder, name, _dtype(entry["dtype"]), _shape(entry), size)
                for name, entry in index["columns"].items()
            }
            texts = {
                name: _open_column(folder, f"{name}.text", UNSIGNED[0], (_count(entry["values"]),), size)
                for name, entry in index["texts"].items()
            }
            digests = dict(index.get("sha256", {}))
            _check_hashes(folder, digests, {*columns, *(f"{name}.text" for name in texts)})
            counts = dict(index["dropped"]), dict(index["leaks"]), _count(index["rows"])
            identity = str(index["identity"])
        except OSError as error:
            problem = f"cannot read {error.filename or folder / _INDEX}: {error.strerror}"
            raise UserError(f"{folder}: not a store of prepared examples ({problem}); {advice}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder}: a damaged store of prepared examples ({error}); {advice}") from None
        digest = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
        return cls(folder, columns, texts, *counts, identity, size, digest if digests else "")

    def __len__(self) -> int:
        return self.size

    def __reduce__(self) -> tuple[Callable[[Path], Self], tuple[Path]]:
        """Pickle only the folder; another process opens it again."""
        return type(self).open, (self.folder,)

    def __getitem__(self, i: int) -> dict[str, Numbers]:
        """Return views of the columns of example `i`."""
        if not 0 <= i < self.size:
            raise IndexError(i)
        return {name: column.row(i) for name, column in self.columns.items()}

    def text(self, i: int) -> dict[str, str]:
        """Return the text of example `i`; empty if the store has no text."""
        return {name: column.row(i).tobytes().decode() for name, column in self.texts.items()}

    def lengths(self, column: str) -> Integers:
        """Return the number of tokens of each example in a column."""
        return self.columns[column].lengths()


def _open_column(folder: Path, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], size: int) -> Ragged:
    if not name.replace(".", "_").isidentifier():
        raise ValueError(f"{name!r} is not the name of a column")
    column = Ragged(_mapped(folder / name, dtype, shape), _mapped_offsets(folder / f"{name}.at", size + 1))
    if column.offsets[0] != 0 or column.offsets[-1] != shape[0]:
        raise ValueError(f"the offsets in {name}.at do not fit {name}")
    return column


def _dtype(name: object) -> np.dtype[Any]:
    if not isinstance(name, str) or name not in _DTYPES:
        raise ValueError(f"its values have the unknown type {name!r}")
    return _DTYPES[name]


def _shape(entry: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of the values of a column: [values], or [values, width] if they are vectors."""
    return (_count(entry["values"]), *([_count(entry["width"])] if "width" in entry else []))


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{str(value)[:40]!r} is not a count")
    return value


def _check_hashes(folder: Path, digests: Mapping[str, str], columns: Collection[str]) -> None:
    """Check the hashes of a small store, because a damaged disk can change bytes and keep the sizes."""
    for name in digests:
        if name.removesuffix(".at") not in columns:
            raise ValueError(f"{name[:40]!r} is not one of its files")
    if sum((folder / name).stat().st_size for name in digests) > _MAX_HASHED_BYTES:
        return
    for name, expected in digests.items():
        if sha256(folder / name) != expected:
            raise ValueError(f"the bytes of {name} are not those that were written")


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    size, expected = path.stat().st_size, math.prod(shape) * dtype.itemsize
    if size != expected:
        raise ValueError(f"{path.name} has {size} bytes instead of {expected}")
    if size == 0:
        return np.zeros(shape, dtype)
    # Return a plain array, because each indexing of a memmap creates a new memmap, which is slow.
    return np.memmap(path, dtype, "r", shape=shape).view(np.ndarray)


def _mapped_offsets(path: Path, count: int) -> Integers:
    return _mapped(path, _OFFSET, (count,))


class Writer:
    """A writer of a store in an existing folder, block by block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._columns: dict[str, _Column] = {}
        self._texts: dict[str, _Column] = {}
        self._examples = 0

    def add(self, columns: Mapping[str, Ragged], texts: Mapping[str, Ragged]) -> None:
        """Append a block of examples; all blocks have the same columns."""
        sizes = {len(column.offsets) - 1 for column in (*columns.values(), *texts.values())}
        assert len(sizes) == 1, f"columns of different lengths: {sizes}"
        if not self._examples:
            self._columns = {name: _Column(self.folder / name) for name in columns}
            self._texts = {name: _Column(self.folder / f"{name}.text") for name in texts}
        assert (self._columns.keys(), self._texts.keys()) == (columns.keys(), texts.keys())
        for name, column in columns.items():
            self._columns[name].add(column)
        for name, text in texts.items():
            self._texts[name].add(text)
        self._examples += sizes.pop()

    def finish(
        self,
        *,
        keep: NDArray[np.bool_] | None = None,
        rows: int,
        dropped: Mapping[str, int],
        leaks: Mapping[str, Mapping[str, Any]],
        identity: str,
    ) -> None:
        """Finish the store.

        Args:
            keep: [examples] false for examples to remove; None: keep all
            rows: number of rows of the corpus
            dropped: number of dropped rows, by reason
            leaks: see `Store`
            identity: the cache key of the inputs of the store
        """
        if keep is not None and keep.all():
            keep = None
        index = {
            "format": FORMAT,
            "identity": identity,
            "examples": self._examples if keep is None else int(keep.sum()),
            "rows": rows,
            "dropped": dict(sorted(dropped.items())),
            "leaks": leaks,
            "columns": {name: column.finish(keep) for name, column in self._columns.items()},
            "texts": {name: column.finish(keep) for name, column in self._texts.items()},
        }
        files = sorted(path for path in self.folder.iterdir() if path.name != _INDEX)
        index["sha256"] = {path.name: sha256(path) for path in files}
        (self.folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Close all files; this does not finish the store."""
        for column in (*self._columns.values(), *self._texts.values()):
            column.close()


class _Column:
    """A writer of the two files of a column. It rewrites the values when one of them needs a wider type."""

    def __init__(self, path: Path) -> None:
        assert path.name.replace(".", "_").isidentifier(), path.name
        self.path = path
        self.dtype: np.dtype[Any] = UNSIGNED[0]
        self.width: tuple[int, ...] = ()  # the length of the vectors; empty if the values are numbers
        self.total = 0
        self._values: IO[bytes] = path.open("wb")
        self._at: IO[bytes] = self._at_path.open("wb")
        self._at.write(np.zeros(1, _OFFSET).tobytes())

    @property
    def _at_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.at")

    def add(self, column: Ragged) -> None:
        try:
            values = compact(column).values
            if len(values):
                self._fit(values)
        except ValueError as error:
            raise PluginError(f"the column {self.path.name!r} of a task: {error}") from None
        self._values.write(values.astype(self.dtype, copy=False).tobytes())
        self._at.write((column.offsets[1:] + self.total).astype(_OFFSET, copy=False).tobytes())
        self.total += len(values)

    def finish(self, keep: NDArray[np.bool_] | None) -> dict[str, Any]:
        self.close()
        if keep is not None:
            self._compact(keep)
        shape = dict(zip(("values", "width"), (self.total, *self.width), strict=False))
        return {"dtype": self.dtype.str, **shape}

    def close(self) -> None:
        self._values.close()
        self._at.close()

    def _fit(self, values: Numbers) -> None:
        """Choose a type that holds these values and the earlier ones."""
        if not self.total:
            self.dtype, self.width = values.dtype, values.shape[1:]
        elif values.shape[1:] != self.width:
            raise ValueError(
                f"its values have the shapes {list(self.width)} and {list(values.shape[1:])}; "
                "return numbers, or vectors of one length"
            )
        elif values.dtype.kind != self.dtype.kind:
            self._widen(FLOATS[-1])
        elif values.dtype.itemsize > self.dtype.itemsize:
            self._widen(values.dtype)

    def _widen(self, dtype: np.dtype[Any]) -> None:
        self._values.close()
        narrow = self.path.with_name(f"{self.path.name}.narrow")
        self.path.rename(narrow)
        values = _mapped(narrow, self.dtype, (self.total, *self.width))
        self._values = self.path.open("wb")
        for start in range(0, self.total, _CHUNK):
            self._values.write(values[start : start + _CHUNK].astype(dtype).tobytes())
        narrow.unlink()
        self.dtype = dtype

    def _compact(self, keep: NDArray[np.bool_]) -> None:
        """Remove the rows that are not marked in `keep`."""
        column = Ragged(
            _mapped(self.path, self.dtype, (self.total, *self.width)),
            _mapped_offsets(self._at_path, len(keep) + 1),
        )
        values_path, at_path = (path.with_name(f"{path.name}.kept") for path in (self.path, self._at_path))
        self.total = 0
        with values_path.open("wb") as values, at_path.open("wb") as at:
            at.write(np.zeros(1, _OFFSET).tobytes())
            for start in range(0, len(keep), _CHUNK):
                marks = keep[start : start + _CHUNK]
                offsets = column.offsets[start : start + len(marks) + 1]
                lengths = np.diff(offsets)
                block = column.values[offsets[0] : offsets[-1]]
                values.write(block[np.repeat(marks, lengths)].tobytes())
                ends = self.total + np.cumsum(lengths[marks])
                at.write(ends.astype(_OFFSET).tobytes())
                self.total = int(ends[-1]) if len(ends) else self.total
        values_path.replace(self.path)
        at_path.replace(self._at_path)
