"""Treebanks as corpora: rows of one column, a tree in brackets on one line."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from annotated_types import Gt

import seqx
from seqx_parsing.reader import read

SPLITS = ("train", "dev", "test")


class Treebank(seqx.Corpus):
    """Trees as their files have them, with traces and function tags: to clean them is the task's business."""

    _hashes: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def texts(self, split: str) -> Iterator[tuple[str, Iterable[str]]]:
        """The files of a split: what each is called, and its lines."""

    def expected(self, split: str) -> int | None:
        """How many trees a split must have, if that is known."""
        return None

    def fetch(self, folder: Path, progress: seqx.Progress, splits: Sequence[str] = seqx.SPLITS) -> None:
        """Read each of `splits` once, so that whatever is wrong is said before anything is made from it.

        Raises:
            UserError: what is missing, or which file is wrong in which line
        """
        new = {split: self._check(split, progress) for split in splits if split not in self._hashes}
        self._hashes = {**self._hashes, **new}

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The trees of "train", "dev" or "test", in the order of the files."""
        trees = (tree for name, lines in self.texts(split) for tree in read(lines, name))
        first = next(trees, None)
        if first is None:
            raise seqx.UserError(f"the treebank has no trees for {split}; set its {split!r}")
        yield (str(first),)
        for tree in trees:
            yield (str(tree),)

    def identity(self) -> Mapping[str, object]:
        """The SHA-256 of each split's trees, however they are laid out and packed."""
        assert self._hashes.keys() == {*SPLITS}, "fetch comes first"
        return self._hashes

    def _check(self, split: str, progress: seqx.Progress) -> str:
        digest, files, count, name = hashlib.sha256(), 0, 0, ""
        for name, lines in self.texts(split):
            progress(f"reading {split}: {name}", None)
            trees = 0
            for tree in read(lines, name):
                digest.update(f"{tree}\n".encode())
                trees += 1
            if not trees:
                raise seqx.UserError(f"{name}: has no tree in it")
            files, count = files + 1, count + trees
        wanted = self.expected(split)
        if wanted is not None and count != wanted:
            raise seqx.UserError(
                f"{split}: its {files:,} files, the last of which is {name}, have {count:,} trees, "
                f"but {wanted:,} are known; some file is missing, cut off or of another release"
            )
        return digest.hexdigest()


@dataclass(kw_only=True)
class TreebankFiles(Treebank):
    """Any files of trees in brackets: UTF-8, plain or gzip (.gz), laid out over lines as they like.

    `${NAME}` in a path is an environment variable; relative paths start at the current folder.

    Args:
        train: files of the trees to learn from, read one after the other
        dev: files of the trees to validate with
        test: files of the trees to be judged by
        limit: most trees of `train` to use, from the first on
    """

    train: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    limit: Annotated[int, Gt(0)] | None = None

    def texts(self, split: str) -> Iterator[tuple[str, Iterable[str]]]:
        """The files that the settings name."""
        for path in map(seqx.expand, getattr(self, split)):
            yield str(path), seqx.lines(path)

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The trees of "train", "dev" or "test", in the order of the files."""
        return islice(super().rows(split), self.limit if split == "train" else None)

    def identity(self) -> Mapping[str, object]:
        """The SHA-256 of each split's trees, and how many of them are used."""
        return {**super().identity(), "limit": self.limit}
