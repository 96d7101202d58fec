"""A corpus of parallel text files: line i of one file corresponds to line i of the other files."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import seqx
from seqx_text.file_corpus import REPORTED, FileCorpus, Report, size_and_time

_LANGUAGE = re.compile(r"\.(?!gz|xz)([a-z]{2}(?:[-_]\w+)?)(?:\.(?:gz|bz2|xz|zst))?$")


@dataclass(kw_only=True)
class Files(FileCorpus):
    """Parallel text files: UTF-8, one sentence per line, plain or compressed with gzip, bzip2, xz or zstd.

    A split is a list of paths, one per column: `[train.en, train.de]`. It may also be a list of such lists,
    which are read one after the other. `${NAME}` in a path is replaced by the environment variable; relative
    paths start at the current folder.

    Args:
        train: training files
        dev: validation files
        test: test files
    """

    train: list[str] | list[list[str]] = field(default_factory=list)
    dev: list[str] | list[list[str]] = field(default_factory=list)
    test: list[str] | list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def read(self, files: Sequence[Path]) -> Iterator[tuple[str, ...]]:
        """Yield the rows of parallel files."""
        return zip(*map(seqx.read_lines, files), strict=False)

    def digests(self, files: Sequence[Path], report: Report) -> tuple[int, list[str]]:
        """Return the number of lines and the SHA-256 of the text of each file.

        Raises:
            UserError: a file cannot be read, or the files have different numbers of lines
        """
        counts, digests = zip(*(_count_and_hash(file, report) for file in files), strict=True)
        if len(set(counts)) > 1:
            shown = ", ".join(f"{file} has {count:,}" for file, count in zip(files, counts, strict=True))
            raise seqx.UserError(f"the files of a split must have the same number of lines: {shown}")
        return counts[0], list(digests)

    def parts(self, split: str) -> list[list[Path]]:
        """Return the paths of each list of a split."""
        return [[seqx.expand_path(name) for name in files] for files in _groups(getattr(self, split))]


def _groups(files: list[str] | list[list[str]]) -> list[list[str]]:
    """Return the lists of paths of a split, each with one path per column."""
    if files and all(isinstance(file, str) for file in files):
        return [files]  # type: ignore[list-item]
    return files  # type: ignore[return-value]


def _count_and_hash(path: Path, report: Report) -> tuple[int, str]:
    """Return the number of lines of a file, and the SHA-256 of its text."""
    count, digest = 0, hashlib.sha256()
    _first_line(path)
    for line in seqx.read_lines(path, refuse_pipes=True):
        count += 1
        digest.update(line.encode() + b"\n")
        if count % REPORTED == 0:
            report(count)
    return count, digest.hexdigest()


def _first_line(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        UserError: the file is missing, empty or not text
    """
    size_and_time(path)
    for line in seqx.read_lines(path, refuse_pipes=True):
        return line
    raise seqx.UserError(f"{path}: is empty; a file of parallel text needs one line per sentence")
