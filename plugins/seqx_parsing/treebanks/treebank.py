"""What treebanks share: every tree is read, checked and counted before anything is made from it."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import seqx
from seqx_parsing.reader import located, read


class Treebank(seqx.Corpus):
    """Trees as their files have them, with traces and function tags: to clean them is the task's business."""

    _hashes: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def texts(self, split: str) -> Iterator[tuple[str, Iterable[str]]]:
        """The files of a split: what each is called, and its lines."""

    def setting(self, split: str, number: int) -> str:
        """Return the setting that names the file with this number of a split."""
        return ""

    @property
    def available(self) -> Sequence[str]:
        """The splits that have files."""
        return [split for split in seqx.SPLITS if getattr(self, split)]

    @property
    def width(self) -> int:
        """The number of columns: one, with trees."""
        return 1

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report files that are missing, empty or not text; `fetch` reads the trees."""
        for split in self.available:
            number = 0
            try:
                for number, (name, lines) in enumerate(self.texts(split)):
                    if next(iter(lines), None) is None:
                        yield self.setting(split, number), f"{name}: has no tree in it"
            except seqx.UserError as error:
                yield self.setting(split, number), str(error)

    def expected(self, split: str) -> int | None:
        """How many trees a split must have, if that is known."""
        return None

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
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

    def place(self, split: str, row: int) -> str:
        """Return the file of a tree, and the line in which it begins."""
        places = (f"{name}:{line}" for name, lines in self.texts(split) for line, _ in located(lines, name))
        return next(islice(places, row, None), super().place(split, row))

    def identity(self) -> Mapping[str, object]:
        """The SHA-256 of each split's trees, however they are laid out and packed."""
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
                raise seqx.UserError(f"{name}: has no tree in it")
            files, count = files + 1, count + trees
        wanted = self.expected(split)
        if wanted is not None and count != wanted:
            raise seqx.UserError(
                f"{split}: its {files:,} files, the last of which is {name}, have {count:,} trees, "
                f"but {wanted:,} are known; some file is missing, cut off or of another release"
            )
        return digest.hexdigest()
