"""The base class of corpora whose rows come from files: it checks them, counts rows and shows progress."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Gt

import seqx

Stamp = tuple[int, int]
"""The size of a file, and the time of its last modification."""

Report = Callable[[int], None]
"""A function that gets a number of rows."""

REPORTED = 100_000
"""The number of rows between two reports of progress."""


@dataclass(kw_only=True)
class FileCorpus(seqx.Corpus):
    """A corpus whose splits consist of parts; a part is a list of files that are read together.

    Args:
        limit: maximum number of training rows, from the first on
    """

    limit: Annotated[int, Gt(0)] | None = None

    has_incomplete_rows: ClassVar[bool] = False
    """True if `read` may yield empty texts in place of missing ones. Such rows are part of the training set,
    where the task drops and counts them; other splits are read without them."""

    def __post_init__(self) -> None:
        # SHA-256 of the content of each part, by split; a part may have several
        self._digests: dict[str, list[list[str]]] = {}
        # the stamps of the files of a part when it was read, and its digests
        self._checked: dict[tuple[Path, ...], tuple[list[Stamp], list[str]]] = {}
        self._counts: dict[tuple[str, tuple[Path, ...]], int] = {}  # the rows of a part, by its split

    def parts(self, split: str) -> list[list[Path]]:
        """Return the files of each part of a split; by default, each path of its list is a part."""
        return [[seqx.expand_path(name)] for name in getattr(self, split)]

    @abstractmethod
    def read(self, files: Sequence[Path]) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a part.

        Raises:
            UserError: with file and line, if a file cannot be read
        """

    def digests(self, files: Sequence[Path], report: Report) -> tuple[int, list[str]]:
        """Return the number of rows of a part and the SHA-256 of their content, after reading all of them.

        Args:
            files: the part
            report: called with the number of rows so far, every `REPORTED` rows

        Raises:
            UserError: the part has no rows, or cannot be read
        """
        digest, count = hashlib.sha256(), 0
        for count, row in enumerate(self.read(files), 1):
            for text in row:
                digest.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
            if count % REPORTED == 0:
                report(count)
        if not count:
            raise seqx.UserError(f"{files[0]}: has no rows; name a file with text")
        return count, [digest.hexdigest()]

    def stamps(self, files: Sequence[Path]) -> list[Stamp]:
        """Return the stamp of each file of a part.

        Raises:
            UserError: there is no such file
        """
        return [size_and_time(file) for file in files]

    @property
    def available(self) -> Sequence[str]:
        """The splits that have files."""
        return [split for split in seqx.SPLITS if getattr(self, split)]

    def required_data(self, folder: Path) -> seqx.RequiredData | None:
        """Return the files of all splits."""
        parts = [part for split in self.available for part in getattr(self, split)]
        paths = [path for part in parts for path in ([part] if isinstance(part, str) else part)]
        return seqx.RequiredData(files=[*dict.fromkeys(paths)])

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report parts whose first row cannot be read; a problem that several parts have, only once."""
        messages = set[str]()
        for split in self.available:
            for number in range(len(getattr(self, split))):
                try:
                    files = self.parts(split)[number]
                    self.stamps(files)
                    next(self.read(files), None)
                except seqx.UserError as error:
                    if str(error) not in messages:
                        yield f"{split}.{number}", str(error)
                    messages.add(str(error))

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Read the files of `splits` once, so that errors are found before training.

        Raises:
            UserError: a file cannot be read, or has no rows
        """
        for split in splits:
            if split in self._digests:
                continue
            digests = []
            for files in self.parts(split):
                activity = f"reading {split}: {', '.join(map(str, files))}"
                progress(activity, None)
                stamps = self.stamps(files)
                count, of_part = self.digests(files, partial(_report, progress, activity))
                digests.append(of_part)
                if self.has_incomplete_rows and split != "train":
                    count = sum(1 for _ in self._read(split, files))
                if not count:
                    raise seqx.UserError(f"{files[0]}: no row has a text in each column; name other files")
                self._checked[tuple(files)], self._counts[split, tuple(files)] = (stamps, of_part), count
            self._digests[split] = digests

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split, in the order of the files."""
        if not getattr(self, split):
            name = type(self).__name__.lower()
            raise seqx.UserError(f"{name}: there is no text for {split}; set {split} to a list of paths")
        return islice(self._all_rows(split), self.limit if split == "train" else None)

    def num_rows(self, split: str) -> int | None:
        """Return the number of rows of a split, as `fetch` counted them."""
        counts = [self._counts.get((split, tuple(files))) for files in self.parts(split)]
        if None in counts:
            return None
        count = sum(filter(None, counts))
        return min(count, self.limit) if split == "train" and self.limit is not None else count

    def row_location(self, split: str, row: int) -> str:
        """Return the file and the number of a row in it."""
        number = row
        for files in self.parts(split):
            count = self._counts.get((split, tuple(files)))
            if count is None:  # it was not fetched
                count = sum(1 for _ in islice(self._read(split, files), number + 1))
            if number < count:
                place = number
                if self.has_incomplete_rows:
                    kept = (n for n, each in enumerate(self.read(files)) if self._keeps(split, each))
                    place = next(islice(kept, number, None))
                return self.location_in_part(files, place)
            number -= count
        return super().row_location(split, row)

    def location_in_part(self, files: Sequence[Path], row: int) -> str:
        """Return the file and the line of a row of a part, counted from 0; by default a row is a line."""
        return f"{files[0]}:{1 + row}"

    def identity(self) -> Mapping[str, object]:
        """Return `limit` and the SHA-256 of the content, whatever the path and the compression."""
        assert self._digests.keys() >= {*self.available}, "fetch comes first"
        return {**{split: self._digests[split] for split in self.available}, "limit": self.limit}

    def _all_rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split without `limit`."""
        for files in self.parts(split):
            self._check_unchanged(files)
            yield from self._read(split, files)
            self._check_unchanged(files)  # again, because a file may have changed while it was read

    def _read(self, split: str, files: Sequence[Path]) -> Iterator[tuple[str, ...]]:
        return (row for row in self.read(files) if self._keeps(split, row))

    def _keeps(self, split: str, row: tuple[str, ...]) -> bool:
        """Return true if a row of a file is a row of the split."""
        return split == "train" or not self.has_incomplete_rows or all(row)

    def _check_unchanged(self, files: Sequence[Path]) -> None:
        """Check that a part has the content that it had when it was fetched.

        Raises:
            UserError: a file has changed
        """
        if tuple(files) not in self._checked:
            return
        earlier, digests = self._checked[tuple(files)]
        stamps = self.stamps(files)
        if stamps != earlier and not self._has_digests(files, digests):
            file = next(file for file, old, new in zip(files, earlier, stamps, strict=True) if old != new)
            raise seqx.UserError(
                f"{file}: changed since it was first read; restore it and run the same command again"
            )

    def _has_digests(self, files: Sequence[Path], digests: Sequence[str]) -> bool:
        """Return true if a part can be read and has these digests."""
        try:
            return self.digests(files, lambda _: None)[1] == digests
        except seqx.UserError:
            return False


def _report(progress: seqx.ProgressReporter, activity: str, count: int) -> None:
    progress(f"{activity}: {count:,} rows", None)


def size_and_time(path: Path) -> Stamp:
    """Return the size of a file and the time of its last modification.

    Raises:
        UserError: there is no such file
    """
    try:
        status = path.stat()
    except OSError as error:
        raise seqx.UserError(
            f"{path}: cannot be read ({error.strerror}); correct the path in task.corpus; a relative path "
            "begins in the current folder"
        ) from None
    return status.st_size, status.st_mtime_ns
