"""A corpus of parallel text files: line i of one file belongs to line i of the others."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

from annotated_types import Gt

import seqx


@dataclass(kw_only=True)
class Files(seqx.Corpus):
    """Parallel text files: UTF-8, one sentence per line, plain or compressed with gzip, bzip2, xz or zstd.

    A split is a list of paths, one per column: `[train.en, train.de]`. It may also be a list of such lists,
    which are read in order. `${NAME}` in a path is replaced by the environment variable; relative paths start
    at the current folder.

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
        if len(set(widths.values())) > 1 or not all(widths.values()):
            raise ValueError(f"files: every split needs as many paths as there are columns, found {widths}")
        self._contents: dict[str, list[list[str]]] = {}
        # size and modification time of each file when it was checked, and the hash of its text
        self._checked: dict[Path, tuple[tuple[int, int], str]] = {}

    @property
    def available(self) -> Sequence[str]:
        """The splits that have files."""
        return [split for split in seqx.SPLITS if getattr(self, split)]

    @property
    def width(self) -> int | None:
        """The number of columns: one per file in a list."""
        return len(_groups(getattr(self, self.available[0]))[0]) if self.available else None

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report files that are missing, empty or not text."""
        for split in self.available:
            flat = getattr(self, split)[0]
            for number, files in enumerate(_groups(getattr(self, split))):
                for column, name in enumerate(files):
                    try:
                        _first_line(seqx.expand_path(name))
                    except seqx.UserError as error:
                        index = column if isinstance(flat, str) else f"{number}.{column}"
                        yield f"{split}.{index}", str(error)

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Read the files of `splits` once, to find errors before anything else is done.

        Raises:
            UserError: a file cannot be read, or lengths differ; the message has file and line
        """
        for split in splits:
            if split in self._contents:
                continue
            contents = []
            for files in self._paths(split):
                progress(f"reading {split}: {', '.join(map(str, files))}", None)
                stamps = [_stamp(file) for file in files]
                checked = [_check(file) for file in files]
                for file, stamp, (_, digest) in zip(files, stamps, checked, strict=True):
                    self._checked[file] = stamp, digest
                counts = [count for count, _ in checked]
                if len(set(counts)) > 1:
                    shown = ", ".join(
                        f"{file} has {count:,}" for file, count in zip(files, counts, strict=True)
                    )
                    raise seqx.UserError(f"the files of a split must have the same number of lines: {shown}")
                contents.append([digest for _, digest in checked])
            self._contents[split] = contents

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split, in the order of the files."""
        if not getattr(self, split):
            raise seqx.UserError(f"the corpus of files has no text for {split}; set its {split!r}")
        return islice(self._all_rows(split), self.limit if split == "train" else None)

    def place(self, split: str, row: int) -> str:
        """Return the file and line of a row in the first column."""
        locations = (
            f"{files[0]}:{i}"
            for files in self._paths(split)
            for i, _ in enumerate(seqx.read_lines(files[0]), 1)
        )
        return next(islice(locations, row, None), super().place(split, row))

    def identity(self) -> Mapping[str, object]:
        """Return the SHA-256 of each file's text; it does not depend on path and compression."""
        assert self._contents.keys() >= {*self.available}, "fetch comes first"
        return {**{split: self._contents[split] for split in self.available}, "limit": self.limit}

    def _all_rows(self, split: str) -> Iterator[tuple[str, ...]]:
        for files in self._paths(split):
            self._check_unchanged(files)
            yield from zip(*map(seqx.read_lines, files), strict=False)
            self._check_unchanged(files)  # again, because they may have changed while they were read

    def _check_unchanged(self, files: Sequence[Path]) -> None:
        """Check that the files are the same as when they were fetched.

        Raises:
            UserError: a file has changed
        """
        for file in files:
            stamp, digest = self._checked.get(file, (None, ""))
            if stamp is not None and _stamp(file) != stamp and _check(file)[1] != digest:
                raise seqx.UserError(
                    f"{file}: changed since it was first read; restore it and run the same command again"
                )

    def _paths(self, split: str) -> list[list[Path]]:
        return [[seqx.expand_path(name) for name in files] for files in _groups(getattr(self, split))]


def _groups(files: list[str] | list[list[str]]) -> list[list[str]]:
    """Return lists with one path per column; a flat list is one such list."""
    if files and all(isinstance(file, str) for file in files):
        return [files]  # type: ignore[list-item]
    return files  # type: ignore[return-value]


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and time of modification, which change when the file is written."""
    try:
        found = path.stat()
    except OSError as error:
        raise seqx.UserError(
            f"{path}: cannot be read ({error.strerror}); the corpus of the recipe (task.corpus) names it"
        ) from None
    return found.st_size, found.st_mtime_ns


def _check(path: Path) -> tuple[int, str]:
    """Return the number of lines of a file, and the hash of its text."""
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
    _stamp(path)
    for line in seqx.read_lines(path, plain=True):
        return line
    raise seqx.UserError(f"{path}: is empty; a file of parallel text needs one line per sentence")
