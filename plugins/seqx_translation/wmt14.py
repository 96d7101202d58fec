"""The training data of WMT 2014: English with German or French (Bojar et al. 2014).

Sizes and checksums are those recorded by TensorFlow Datasets. The 4.5 million English-German pairs of Vaswani
et al. 2017 are those of the three German archives. Both directions share the downloaded files.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt

import seqx
from seqx_translation.archive import Archive, extract
from seqx_translation.download import UnreachableError, download, verify
from seqx_translation.folder_lock import lock_folder
from seqx_translation.newstest import SETS, newstest

_HOST = "https://www.statmt.org"
_EUROPARL = "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7"
_COMMONCRAWL = "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5"
_COMMENTARY = "cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485"
_NATIONS = "29141b5c1eba149a94f7a59d3b1a834b2e47fe0f8758d68dcd77a3d3f497ee47"
_GIGA = "3ff8319f6919393520559bfbc7ad6a747ec81b3abc7be9993b338d4b017b4d9a"


def _archive(path: str, size: int, sha256: str, stem: str, other: str, lines: int | None) -> Archive:
    """Return an archive of WMT; in names of members, ".LANGUAGE" replaces `*` or follows `stem`."""
    stem, _, extension = stem.partition("*")
    members = {language: f"{stem}.{language}{extension}" for language in ("en", other)}
    return Archive(url=f"{_HOST}/{path}", size=size, sha256=sha256, members=members, lines=lines)


def _common_archives(other: str, europarl: int, commoncrawl: int, commentary: int) -> list[Archive]:
    """Return the archives that have text in English and any `other` language, with these numbers of lines."""
    pair = f"{other}-en"
    return [
        _archive("wmt13/training-parallel-europarl-v7.tgz", 657_632_379, _EUROPARL,
                 f"training/europarl-v7.{pair}", other, europarl),
        _archive("wmt13/training-parallel-commoncrawl.tgz", 918_311_367, _COMMONCRAWL,
                 f"commoncrawl.{pair}", other, commoncrawl),
        _archive("wmt14/training-parallel-nc-v9.tgz", 80_418_416, _COMMENTARY,
                 f"training/news-commentary-v9.{pair}", other, commentary),
    ]  # fmt: skip


ARCHIVES: Mapping[str, list[Archive]] = {
    "de": _common_archives("de", 1_920_209, 2_399_123, 201_288),
    "fr": [
        *_common_archives("fr", 2_007_723, 3_244_152, 183_251),
        _archive(
            "wmt13/training-parallel-un.tgz", 2_365_634_246, _NATIONS, "un/undoc.2000.fr-en", "fr", 12_886_831
        ),
        _archive(
            "wmt10/training-giga-fren.tar", 2_595_102_720, _GIGA, "giga-fren.release2.fixed*.gz", "fr", None
        ),
    ],
}
"""The archives of the pairs of English with each other language."""


@dataclass(kw_only=True)
class Wmt14(seqx.Corpus):
    """WMT 2014: training on its parallel text, validation on newstest2013, test on the full newstest2014.

    Archives are downloaded to the cache and verified; only the needed members are extracted. Bytes that are
    not UTF-8 become U+FFFD; only a line feed ends a line.

    Args:
        source: the source language, in the first column
        target: the target language, in the second column; one of the two is English
        archives: archives of training text that replace those of WMT
        local: a folder with archives that were downloaded before, under their original names; ${NAME} is
            replaced by the environment variable
        heldout: another corpus whose dev and test rows replace newstest2013 and newstest2014
        limit: maximum number of training rows, from the first on
    """

    source: Literal["en", "de", "fr"] = "en"
    target: Literal["en", "de", "fr"] = "de"
    archives: list[Archive] | None = None
    local: Path | None = None
    heldout: seqx.Corpus | None = None
    limit: Annotated[int, Gt(0)] | None = None

    def __post_init__(self) -> None:
        if (self.source == "en") == (self.target == "en"):
            raise ValueError(
                "wmt14: one of source and target must be en, and the other one de or fr, "
                f"but they are {self.source} and {self.target}"
            )
        other = self.source if self.target == "en" else self.target
        self._archives = ARCHIVES[other] if self.archives is None else self.archives
        for archive in self._archives:
            if not archive.members.keys() >= {self.source, self.target}:
                raise ValueError(
                    f"wmt14: archives: {archive.name} needs a member for both {self.source} and {self.target}"
                )
        self._folder: Path | None = None

    @property
    def available(self) -> Sequence[str]:
        """All splits, or "train" and those of `heldout`."""
        if self.heldout is None:
            return seqx.SPLITS
        return ["train", *(split for split in self.heldout.available if split != "train")]

    @property
    def width(self) -> int:
        """The number of columns: source and target."""
        return 2

    @property
    def languages(self) -> Sequence[str]:
        """The source language and the target language."""
        return self.source, self.target

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report a folder `local` that does not exist."""
        try:
            self._local_folder()
        except seqx.UserError as error:
            yield "local", str(error).removeprefix("task.corpus.local: ")

    def required_data(self, folder: Path) -> seqx.RequiredData | None:
        """Return the extracted text and the test sets, and the size of the archives."""
        self._folder = folder / "wmt14"
        text = [str(file) for archive in self._archives for file in self._files(archive).values()]
        archives = seqx.RequiredData(
            files=text, download_bytes=sum(archive.size for archive in self._archives)
        )
        if self.heldout is not None:
            heldout = self.heldout.required_data(folder)
            return None if heldout is None else archives + heldout
        sets = [str(file) for split in SETS for file in self._newstest(split)]
        return archives + seqx.RequiredData(files=sets)

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Download the test sets of `splits`; if "train" is one of them, download and extract the archives.

        Raises:
            UserError: an archive is missing or damaged; the message says what to do
        """
        self._folder = folder / "wmt14"
        with lock_folder(self._folder, progress):
            self._fetch(self._folder, progress, splits)

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of the archives in order, or those of a test set."""
        if split == "train":
            sides = ([*self._files(archive).values()] for archive in self._archives)
            return islice(chain.from_iterable(map(_pairs, sides)), self.limit)
        if self.heldout is not None:
            return self.heldout.rows(split)
        return _pairs(self._newstest(split))

    def identity(self) -> Mapping[str, object]:
        """Return the archives' checksums and members, and the test sets."""
        return {
            "archives": [{**asdict(archive), "url": archive.name} for archive in self._archives],
            "columns": [self.source, self.target],
            "heldout": self.heldout.identity() if self.heldout is not None else dict(SETS),
            "limit": self.limit,
        }

    def _fetch(self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str]) -> None:
        # Small files come first, so that a network error occurs before gigabytes are downloaded.
        if self.heldout is not None:
            self.heldout.fetch(folder / "heldout", progress, splits)
        else:
            for split in [split for split in SETS if split in splits]:
                self._fetch_newstest(split, progress)
        for archive in self._archives if "train" in splits else []:
            files = self._files(archive)
            if not all(file.exists() for file in files.values()):
                extract(archive, self._verified(archive, folder, progress), files, progress)

    def _fetch_newstest(self, split: str, progress: seqx.ProgressReporter) -> None:
        copies = self._newstest(split)
        if all(copy.exists() for copy in copies):
            return
        progress(f"downloading {SETS[split][0]} with sacreBLEU", None)
        for file, copy in zip(newstest(split, self.source, self.target), copies, strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            with seqx.atomic_file(copy) as new:
                shutil.copyfile(file, new)

    def _verified(self, archive: Archive, folder: Path, progress: seqx.ProgressReporter) -> Path:
        """Return the path of a verified archive: a local one, or one downloaded to `folder`."""
        local = self._local_folder()
        if local is not None and (file := local / archive.name).exists():
            advice = f"{file} was not changed; replace or remove it"
            verify(file, archive.size, archive.sha256, progress, advice)
            return file
        file = folder / "archives" / archive.sha256[:12] / archive.name
        try:
            download(archive.url, file, archive.size, archive.sha256, progress)
        except UnreachableError as error:
            raise seqx.UserError(
                f"{error}. Without a network: download {archive.name} elsewhere, put it into a folder "
                "and set task.corpus.local to that folder; or try seqx with generated text, --profile sample"
            ) from error
        return file

    def _local_folder(self) -> Path | None:
        """Return the folder of local archives."""
        if self.local is None:
            return None
        local = seqx.expand_path(os.path.expandvars(self.local))
        if not local.is_dir():
            raise seqx.UserError(f"task.corpus.local: there is no folder {local}; correct the path")
        return local

    def _files(self, archive: Archive) -> dict[str, Path]:
        """Return the paths of the extracted text by language; their names contain a hash of the archive."""
        assert self._folder is not None, "fetch comes first"
        members = {language: archive.members[language] for language in (self.source, self.target)}
        origin = hashlib.sha256(repr((archive.sha256, sorted(members.items()))).encode()).hexdigest()[:12]
        return {
            language: self._folder / "text" / f"{origin}.{Path(member).name.removesuffix('.gz')}"
            for language, member in members.items()
        }

    def _newstest(self, split: str) -> list[Path]:
        assert self._folder is not None, "fetch comes first"
        name = SETS[split][0].replace("/", "-")
        pair = f"{self.source}-{self.target}"
        return [self._folder / "text" / f"{name}.{pair}.{side}" for side in (self.source, self.target)]


def _pairs(files: list[Path]) -> Iterator[tuple[str, ...]]:
    try:
        yield from zip(*(seqx.read_lines(file, errors="replace") for file in files), strict=True)
    except ValueError:
        names = " and ".join(map(str, files))
        raise seqx.UserError(
            f"{names}: have different numbers of lines, so they have changed; remove them and run again, "
            "which extracts them again"
        ) from None
