"""Base class of treebanks: all trees are read, checked and counted before training."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import seqx
from seqx_parsing.reader import read, read_with_lines


class Treebank(seqx.Corpus):
    """Base class of treebanks. Rows are the trees as in the files, with traces and function tags."""

    _hashes: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def texts(self, split: str) -> Iterator[tuple[str, Iterable[str]]]:
        """Yield the name and the lines of each file of a split."""

    def setting(self, split: str, number: int) -> str:
        """Return the path of the setting that names file `number` of a split, for messages."""
        return ""

    @property
    def available(self) -> Sequence[str]:
        """The splits that have files."""
        return [split for split in seqx.SPLITS if getattr(self, split)]

    @property
    def width(self) -> int:
        """The number of columns: one, the tree."""
        return 1

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report files that are missing, empty or not text; `fetch` reports malformed trees."""
        for split in self.available:
            number = 0
            try:
                for number, (name, lines) in enumerate(self.texts(split)):
                    if next(iter(lines), None) is None:
                        yield self.setting(split, number), f"{name}: contains no trees"
            except seqx.UserError as error:
                yield self.setting(split, number), str(error)

    def expected(self, split: str) -> int | None:
        """Return the number of trees that a split must have, if it is known."""
        return None

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Read and check all trees of `splits`, before anything else is done with them.

        Raises:
            UserError: a file is missing or malformed; the message has file and line
        """
        new = {split: self._check(split, progress) for split in splits if split not in self._hashes}
        self._hashes = {**self._hashes, **new}

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the trees of a split, in the order of the files."""
        trees = (tree for name, lines in self.texts(split) for tree in read(lines, name))
        first = next(trees, None)
        if first is None:
            raise seqx.UserError(
                f"the treebank has no trees for the split {split}; name them in its setting {split!r}"
            )
        yield (str(first),)
        for tree in trees:
            yield (str(tree),)

    def row_location(self, split: str, row: int) -> str:
        """Return the file of a tree and the line where it begins."""
        locations = (
            f"{name}:{line}" for name, lines in self.texts(split) for line, _ in read_with_lines(lines, name)
        )
        return next(islice(locations, row, None), super().row_location(split, row))

    def identity(self) -> Mapping[str, object]:
        """Return the SHA-256 of each split's trees; it does not depend on layout and compression."""
        assert self._hashes.keys() >= {*self.available}, "fetch comes first"
        return {split: self._hashes[split] for split in self.available}

    def _check(self, split: str, progress: seqx.ProgressReporter) -> str:
        digest, files, count, name = hashlib.sha256(), 0, 0, ""
        for name, lines in self.texts(split):
            progress(f"reading {split}: {name}", None)
            trees = 0
            for tree in read(lines, name):
                digest.update(f"{tree}\n".encode())
                trees += 1
            if not trees:
                raise seqx.UserError(f"{name}: contains no trees")
            files, count = files + 1, count + trees
        expected = self.expected(split)
        if expected is not None and count != expected:
            raise seqx.UserError(
                f"{split}: {files:,} files (the last is {name}) contain {count:,} trees "
                f"instead of {expected:,}; a file is missing, truncated or from another release: "
                "copy the files again"
            )
        return digest.hexdigest()
