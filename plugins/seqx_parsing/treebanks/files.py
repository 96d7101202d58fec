"""Treebanks in files of the user's own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated

from annotated_types import Gt

import seqx
from seqx_parsing.treebanks.treebank import Treebank


@dataclass(kw_only=True)
class TreebankFiles(Treebank):
    """Any files of trees in brackets: UTF-8, plain or packed by gzip, bzip2, xz or zstd.

    A tree may span several lines.

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
        for path in map(seqx.expand_path, getattr(self, split)):
            yield str(path), seqx.read_lines(path, plain=True)

    def setting(self, split: str, number: int) -> str:
        """Return the setting that names a file."""
        return f"{split}.{number}"

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The trees of "train", "dev" or "test", in the order of the files."""
        return islice(super().rows(split), self.limit if split == "train" else None)

    def identity(self) -> Mapping[str, object]:
        """The SHA-256 of each split's trees, and how many of them are used."""
        return {**super().identity(), "limit": self.limit}
