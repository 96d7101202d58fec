"""A treebank in files that the recipe names."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

from annotated_types import Gt

import seqx
from seqx_parsing.treebanks.treebank import Treebank


@dataclass(kw_only=True)
class TreebankFiles(Treebank):
    """Trees in brackets from any files: UTF-8, plain or compressed with gzip, bzip2, xz or zstd.

    A tree may span several lines. `${NAME}` in a path is replaced by the environment variable; relative paths
    start at the current folder.

    Args:
        train: training files, read in this order
        dev: validation files
        test: test files
        limit: maximum number of training trees; the first ones are used
    """

    train: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    limit: Annotated[int, Gt(0)] | None = None

    def required_data(self, folder: Path) -> seqx.RequiredData:
        """Return the files of all splits."""
        return seqx.RequiredData(
            files=[*dict.fromkeys(path for split in self.available for path in getattr(self, split))]
        )

    def texts(self, split: str) -> Iterator[tuple[str, Iterable[str]]]:
        """Yield the files of a split."""
        for path in map(seqx.expand_path, getattr(self, split)):
            yield str(path), seqx.read_lines(path, refuse_pipes=True)

    def setting(self, split: str, number: int) -> str:
        """Return the setting that names a file."""
        return f"{split}.{number}"

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the trees of a split, in the order of the files."""
        return islice(super().rows(split), self.limit if split == "train" else None)

    def identity(self) -> Mapping[str, object]:
        """Return the SHA-256 of each split's trees, and the limit."""
        return {**super().identity(), "limit": self.limit}
