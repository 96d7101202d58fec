"""The sample of the Penn Treebank that NLTK hands out."""

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

_AGAIN = "fetch it again with `python -m nltk.downloader --force treebank`"
_KNOWN = {(1, 159): 3_396, (160, 179): 273, (180, 199): 245}  # trees of the splits that are the default


@dataclass(kw_only=True)
class NltkTreebank(Treebank):
    """The 3,914 trees of WSJ that NLTK has, from sections 00 and 01, split by number of file.

    They are some 5 % of the Penn Treebank, for non-commercial use. This is not the split of the literature,
    so that scores cannot be compared with published ones.

    Args:
        train: the first and the last file to learn from, wsj_0001 being 1
        dev: the first and the last file to validate with
        test: the first and the last file to be judged by
        folder: where NLTK's data lies, if not where NLTK itself looks for it
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
        """The files of a split, in order."""
        first, last = getattr(self, split)
        combined = self._found()
        for number in range(first, last + 1):
            file = combined / f"wsj_{number:04}.mrg"
            yield str(file), _lines(file)

    def expected(self, split: str) -> int | None:
        """How many trees the splits have that are the default."""
        return _KNOWN.get(tuple(getattr(self, split)))

    def _found(self) -> Path | zipfile.Path:
        """The folder of the files, which may still be packed as NLTK downloaded it."""
        for place in [self.folder] if self.folder else _data_path():
            corpora = seqx.expand_path(place) / "corpora"
            if (corpora / "treebank/combined").is_dir():
                return corpora / "treebank/combined"
            if (corpora / "treebank.zip").is_file():
                return _unpacked(corpora / "treebank.zip")
        where = self.folder or "any folder of NLTK's data"
        raise seqx.UserError(
            f"there is no corpora/treebank in {where}; fetch NLTK's sample of the Penn Treebank with "
            "`python -m nltk.downloader treebank`, or set NLTK_DATA to the folder where you have it"
        )


def _data_path() -> list[str]:
    """Where NLTK looks for data: what NLTK_DATA names, the home folder and so on."""
    import nltk.data  # noqa: PLC0415

    return [*nltk.data.path]


def _unpacked(archive: Path) -> zipfile.Path:
    try:
        return zipfile.Path(archive, "treebank/combined/")
    except (OSError, zipfile.BadZipFile) as error:
        raise seqx.UserError(f"{archive}: is damaged ({error}); {_AGAIN}") from None


def _lines(file: Path | zipfile.Path) -> list[str]:
    try:
        return re.split("\r?\n", file.read_bytes().decode())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise seqx.UserError(f"{file}: is missing or damaged ({type(error).__name__}); {_AGAIN}") from None
