"""The sample of the Penn Treebank that NLTK distributes."""

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

import seqx
from seqx_parsing.treebanks.treebank import Treebank

File = Annotated[int, Ge(1), Le(199)]

_ADVICE = "download it again with `python -m nltk.downloader --force treebank`"
_TREE_COUNTS = {(1, 159): 3_396, (160, 179): 273, (180, 199): 245}  # number of trees of the default splits


@dataclass(kw_only=True)
class NltkTreebank(Treebank):
    """NLTK's sample of the Penn Treebank: 3,914 WSJ trees from sections 00 and 01, split by file number.

    The sample is about 5 % of the Penn Treebank, for non-commercial use. Its splits are not the standard
    ones, so scores are not comparable with published scores.

    Args:
        train: first and last training file; wsj_0001 is 1
        dev: first and last validation file
        test: first and last test file
        folder: NLTK's data folder, if NLTK does not find it itself
    """

    train: tuple[File, File] = (1, 159)
    dev: tuple[File, File] = (160, 179)
    test: tuple[File, File] = (180, 199)
    folder: str | None = None

    def __post_init__(self) -> None:
        ranges = sorted((*getattr(self, split), split) for split in seqx.SPLITS)
        for (_, last, one), (first, _, other) in pairwise(ranges):
            if last >= first:
                raise ValueError(f"{one} and {other} have files in common")
        for first, last, split in ranges:
            if first > last:
                raise ValueError(f"{split}: the first file, {first}, comes after the last, {last}")

    def texts(self, split: str) -> Iterator[tuple[str, Iterable[str]]]:
        """Yield the files of a split, in order."""
        first, last = getattr(self, split)
        combined = self._combined_folder()
        for number in range(first, last + 1):
            file = combined / f"wsj_{number:04}.mrg"
            yield str(file), _lines(file)

    def expected(self, split: str) -> int | None:
        """Return the number of trees of the default splits."""
        return _TREE_COUNTS.get(tuple(getattr(self, split)))

    def _combined_folder(self) -> Path | zipfile.Path:
        """Return the folder of the trees, or its path inside the archive that NLTK downloads."""
        for folder in [self.folder] if self.folder else _data_path():
            corpora = seqx.expand_path(folder) / "corpora"
            if (corpora / "treebank/combined").is_dir():
                return corpora / "treebank/combined"
            if (corpora / "treebank.zip").is_file():
                return _open_archive(corpora / "treebank.zip")
        where = self.folder or "any folder of NLTK's data"
        raise seqx.UserError(
            f"there is no corpora/treebank in {where}; download NLTK's sample of the Penn Treebank with "
            "`python -m nltk.downloader treebank`, or set NLTK_DATA to the folder where you have it"
        )


def _data_path() -> list[str]:
    """Return the folders in which NLTK searches for data, such as those in NLTK_DATA and the home folder."""
    import nltk.data  # noqa: PLC0415

    return [*nltk.data.path]


def _open_archive(archive: Path) -> zipfile.Path:
    try:
        return zipfile.Path(archive, "treebank/combined/")
    except (OSError, zipfile.BadZipFile) as error:
        raise seqx.UserError(f"{archive}: is damaged ({error}); {_ADVICE}") from None


def _lines(file: Path | zipfile.Path) -> list[str]:
    try:
        return re.split("\r?\n", file.read_bytes().decode())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise seqx.UserError(f"{file}: is missing or damaged ({type(error).__name__}); {_ADVICE}") from None
