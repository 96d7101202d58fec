"""A corpus of parallel text files: line i of one file corresponds to line i of the other files."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

from annotated_types import Gt

import seqx

_LANGUAGE = re.compile(r"\.(?!gz|xz)([a-z]{2}(?:[-_]\w+)?)(?:\.(?:gz|bz2|xz|zst))?$")


@dataclass(kw_only=True)
class Files(seqx.Corpus):
    """Parallel text files: UTF-8, one sentence per line, plain or compressed with gzip, bzip2, xz or zstd.

    A split is a list of paths, one per column: `[train.en, train.de]`. It may also be a list of such lists,
    which are read one after the other. `${NAME}` in a path is replaced by the environment variable; relative
    paths start at the current folder.

    Args:
        train: training files
        dev: validation files
        test: test files
        limit: maximum number of training rows, from the first on
    """

    train: list[str] | list[list[str]] = field(default_factory=list)
    dev: list[str] | list[list[str]] = field(default_factory=list)
    test: list[str] | list[list[str]] = field(default_factory=list)
    limit: Annotated[int, Gt(0)] | None = None

    def __post_init__(self) -> None:
        widths = {
            f"{split}[{number}]": len(files)
            for split in seqx.SPLITS
            for number, files in enumerate(_groups(getattr(self, split)))
        }
        splits = [{len(files) for files in _groups(getattr(self, split))} for split in seqx.SPLITS]
        fewest = max([1, *splits[0]])
        if any(len(split) > 1 or min(split, default=fewest) < fewest for split in splits):
            raise ValueError(
                "files: all lists need the same number of paths, one for each column (dev and test may have "
                f"more than train, with further references), but they have {widths}"
            )
        # SHA-256 of the text of each file, by split
        self._hashes: dict[str, list[list[str]]] = {}
        # for each file, its size and modification time when it was read, and the SHA-256 of its text
        self._checked: dict[Path, tuple[tuple[int, int], str]] = {}

    @property
    def available(self) -> Sequence[str]:
        """The splits that have files."""
        return [split for split in seqx.SPLITS if getattr(self, split)]

    @property
    def width(self) -> int | None:
        """The number of columns, which is the number of paths in a list."""
        return len(_groups(getattr(self, self.available[0]))[0]) if self.available else None

    @property
    def languages(self) -> Sequence[str]:
        """The languages that the names of the first files end with, as in train.en or train.pt_BR.gz."""
        if not self.available:
            return ()
        matches = [_LANGUAGE.search(name) for name in _groups(getattr(self, self.available[0]))[0]]
        return [match[1] if match else "" for match in matches]

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report files that are missing, empty or not text."""
        for split in self.available:
            first = getattr(self, split)[0]
            for number, files in enumerate(_groups(getattr(self, split))):
                for column, name in enumerate(files):
                    try:
                        _first_line(seqx.expand_path(name))
                    except seqx.UserError as error:
                        index = column if isinstance(first, str) else f"{number}.{column}"
                        yield f"{split}.{index}", str(error)

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Read the files of `splits` once, so that errors are found before training.

        Raises:
            UserError: a file cannot be read, or the files of a list have different numbers of lines
        """
        for split in splits:
            if split in self._hashes:
                continue
            hashes = []
            for files in self._paths(split):
                progress(f"reading {split}: {', '.join(map(str, files))}", None)
                stamps = [_size_and_time(file) for file in files]
                checked = [_count_and_hash(file) for file in files]
                for file, stamp, (_, digest) in zip(files, stamps, checked, strict=True):
                    self._checked[file] = stamp, digest
                counts = [count for count, _ in checked]
                if len(set(counts)) > 1:
                    shown = ", ".join(
                        f"{file} has {count:,}" for file, count in zip(files, counts, strict=True)
                    )
                    raise seqx.UserError(f"the files of a split must have the same number of lines: {shown}")
                hashes.append([digest for _, digest in checked])
            self._hashes[split] = hashes

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split, in the order of the files."""
        if not getattr(self, split):
            raise seqx.UserError(f"files: there is no text for {split}; set {split} to a list of paths")
        return islice(self._all_rows(split), self.limit if split == "train" else None)

    def row_location(self, split: str, row: int) -> str:
        """Return the file and line of a row in the first column."""
        locations = (
            f"{files[0]}:{i}"
            for files in self._paths(split)
            for i, _ in enumerate(seqx.read_lines(files[0]), 1)
        )
        return next(islice(locations, row, None), super().row_location(split, row))

    def identity(self) -> Mapping[str, object]:
        """Return `limit` and the SHA-256 of each file's text, whatever the path and the compression."""
        assert self._hashes.keys() >= {*self.available}, "fetch comes first"
        return {**{split: self._hashes[split] for split in self.available}, "limit": self.limit}

    def _all_rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split without `limit`."""
        for files in self._paths(split):
            self._check_unchanged(files)
            yield from zip(*map(seqx.read_lines, files), strict=False)
            self._check_unchanged(files)  # again, because a file may have changed while it was read

    def _check_unchanged(self, files: Sequence[Path]) -> None:
        """Check that the text of the files is the same as when they were fetched.

        Raises:
            UserError: a file has changed
        """
        for file in files:
            stamp, digest = self._checked.get(file, (None, ""))
            if stamp is not None and _size_and_time(file) != stamp and _count_and_hash(file)[1] != digest:
                raise seqx.UserError(
                    f"{file}: changed since it was first read; restore it and run the same command again"
                )

    def _paths(self, split: str) -> list[list[Path]]:
        """Return the paths of each list of a split."""
        return [[seqx.expand_path(name) for name in files] for files in _groups(getattr(self, split))]


def _groups(files: list[str] | list[list[str]]) -> list[list[str]]:
    """Return the lists of paths of a split, each with one path per column."""
    if files and all(isinstance(file, str) for file in files):
        return [files]  # type: ignore[list-item]
    return files  # type: ignore[return-value]


def _size_and_time(path: Path) -> tuple[int, int]:
    """Return the size of a file and the time of its last modification.

    Raises:
        UserError: there is no such file
    """
    try:
        status = path.stat()
    except OSError as error:
        raise seqx.UserError(
            f"{path}: cannot be read ({error.strerror}); correct the path in task.corpus"
        ) from None
    return status.st_size, status.st_mtime_ns


def _count_and_hash(path: Path) -> tuple[int, str]:
    """Return the number of lines of a file, and the SHA-256 of its text."""
    count, digest = 0, hashlib.sha256()
    _first_line(path)
    for line in seqx.read_lines(path, plain=True):
        count += 1
        digest.update(line.encode() + b"\n")
    return count, digest.hexdigest()


def _first_line(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        UserError: the file is missing, empty or not text
    """
    _size_and_time(path)
    for line in seqx.read_lines(path, plain=True):
        return line
    raise seqx.UserError(f"{path}: is empty; a file of parallel text needs one line per sentence")
