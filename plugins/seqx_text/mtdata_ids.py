"""The corpus `mtdata`: public parallel corpora by the ids that the package `mtdata` gives them."""

import difflib
import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

import seqx
from seqx_text.file_corpus import FileCorpus, Stamp

_ID = re.compile(r"[^-\s]+-[^-\s]+-[^-\s]+-[^-\s]+-[^-\s]+")
_ATTEMPTS = 4  # attempts to download a file
_TIMEOUT = (10, 60)  # seconds until the connection is made, and between two packets
_CHUNK = 1 << 20


@dataclass(kw_only=True)
class MTData(FileCorpus):
    """Public parallel corpora by their ids in `mtdata`, such as those of WMT, OPUS and ParaCrawl.

    It needs the extra `mtdata`. `mtdata list -l eng-deu` prints the ids of a language pair. Files are
    downloaded once, into the cache. Pairs that lack a text are not used; in the training set they
    are counted as dropped. White space becomes one space.

    Args:
        columns: the language of each column, such as [eng, deu]; en is the same as eng
        train: ids of the training set, such as Statmt-news_commentary-16-deu-eng
        dev: ids of the development set
        test: ids of the test set
    """

    has_incomplete_rows = True

    columns: Annotated[list[str], MinLen(2)]
    train: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._folder: Path | None = None
        self._downloaded: dict[str, list[Path]] = {}  # the files of each id

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.columns)

    @property
    def languages(self) -> Sequence[str]:
        """The languages of the columns."""
        return self.columns

    def required_data(self, folder: Path) -> None:
        """Return None: files are downloaded, and their sizes are not known."""

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report texts that cannot be ids; the index is only read when the corpus is fetched."""
        if len(self.columns) != 2:
            yield "columns", "name two languages, such as [eng, deu]"
        for split in self.available:
            for number, name in enumerate(getattr(self, split)):
                if not _ID.fullmatch(name):
                    yield (
                        f"{split}.{number}",
                        f"{name!r} is not an id; write GROUP-NAME-VERSION-LANGUAGE-LANGUAGE",
                    )

    def parts(self, split: str) -> list[list[Path]]:
        """Return a part for each id; the id takes the place of a file."""
        return [[Path(name)] for name in getattr(self, split)]

    def stamps(self, files: Sequence[Path]) -> list[Stamp]:
        """Return stamps that are always equal: a file that was downloaded does not change."""
        return [(0, 0) for _ in files]

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Download the files into `folder`, and read them once."""
        self._folder = folder / "mtdata"
        for split in splits:
            for name in getattr(self, split):
                self._paths(name, progress)
        super().fetch(folder, progress, splits)

    def read(self, files: Sequence[Path]) -> Iterator[tuple[str, ...]]:
        """Yield the pairs of an id; a missing text is empty.

        Raises:
            UserError: a file is damaged
        """
        name = str(files[0])
        paths, entry, swapped = self._paths(name, _no_progress)
        with _quiet_import():
            parser = seqx.import_extra("mtdata.parser", "mtdata")
        try:
            for record in parser.Parser(paths, ext=entry.in_ext or None, ent=entry).read_segs(
                show_pbar=False
            ):
                pair = tuple(" ".join((text or "").split()) for text in record[:2])
                if len(pair) == len(self.columns):
                    yield pair[::-1] if swapped else pair
        except Exception as error:  # noqa: BLE001  each format has errors of its own
            raise _unreadable(name, error, self._downloaded[name]) from None

    def _paths(self, name: str, progress: seqx.ProgressReporter) -> tuple[Any, Any, bool]:
        """Download the files of an id.

        Returns:
            their paths; the entry of the index; true if its languages are in the reverse order of the columns

        Raises:
            UserError: the package is missing, the index has no such id, or a file cannot be downloaded
        """
        with _quiet_import():
            index, cache, iso = (
                seqx.import_extra(f"mtdata.{module}", "mtdata") for module in ("index", "cache", "iso.bcp47")
            )
        entry = _entry(index.INDEX, name)
        try:
            wanted = tuple(iso.bcp47(language) for language in self.columns)
            is_compatible, swapped = iso.BCP47Tag.check_compat_swap(wanted, entry.did.langs)
        except Exception as error:  # noqa: BLE001  the package raises errors without a class
            raise seqx.UserError(f"mtdata: columns: {_reason(error)}; name languages as in the ids") from None
        if not is_compatible:
            raise seqx.UserError(
                f"mtdata: {name} has the languages {entry.did.lang_str}, not {'-'.join(self.columns)}; "
                "correct columns"
            )
        folder = seqx.expand_path("~/.mtdata") if self._folder is None else self._folder
        files = self._downloaded.setdefault(name, [])
        store = _downloading_cache(cache.Cache, name, progress, files)(folder)
        try:
            return store.get_entry(entry), entry, swapped
        except seqx.UserError:
            raise
        except Exception as error:  # noqa: BLE001  archives have errors of their own
            raise _unreadable(name, error, files) from None


def _entry(index: Any, name: str) -> Any:
    """Return the entry of an id.

    Raises:
        UserError: there is none; the message has the most similar ids
    """
    try:
        return index[seqx.import_extra("mtdata.entry", "mtdata").DatasetId.parse(name)]
    except Exception:  # noqa: BLE001  the package raises errors without a class
        names = [str(did) for did in index.entries]
    languages = name.split("-")[-2:]
    ends = tuple("-".join(("", *pair)) for pair in (languages, languages[::-1]))
    candidates = [each for each in names if each.endswith(ends)] or names
    similar = difflib.get_close_matches(name, candidates, n=3)
    advice = f"did you mean {' or '.join(similar)}?" if similar else "mtdata list -l SOURCE-TARGET prints all"
    raise seqx.UserError(f"mtdata: there is no id {name}; {advice}")


def _downloading_cache(base: Any, name: str, progress: seqx.ProgressReporter, files: list[Path]) -> type:
    """Return mtdata's cache with another method for downloads, which also adds the paths to `files`.

    If the check of a certificate fails, the package's own method downloads without it. It also prints its own
    progress.
    """

    class DownloadingCache(base):  # type: ignore[misc]
        def download(self, url: str, save_at: Path, timeout: object = None, entry: object = None) -> Path:
            """Download a file that is missing or incomplete."""
            del timeout, entry
            if save_at not in files:
                files.append(save_at)
            done = self.get_flag_file(save_at)
            if done.exists() and save_at.exists():
                return save_at
            save_at.parent.mkdir(parents=True, exist_ok=True)
            waiting = partial(progress, f"waiting for another process that downloads {name}", None)
            with seqx.file_lock(save_at.with_name(f"{save_at.name}.lock"), on_wait=waiting):
                if not (done.exists() and save_at.exists()):
                    _download(url, save_at, name, progress)
                    done.touch()
            return save_at

    return DownloadingCache


def _download(url: str, file: Path, name: str, progress: seqx.ProgressReporter) -> None:
    """Download a file; try again if the connection breaks.

    Raises:
        UserError: the file cannot be downloaded
    """
    requests = seqx.import_extra("requests", "mtdata")
    for attempt in range(_ATTEMPTS):
        try:
            with requests.get(url, stream=True, timeout=_TIMEOUT) as response:
                response.raise_for_status()
                total, have = int(response.headers.get("Content-Length", 0)), 0
                with file.open("wb") as target:
                    for chunk in response.iter_content(_CHUNK):
                        target.write(chunk)
                        have += len(chunk)
                        progress(f"downloading {name}", have / total if total >= have else None)
        except requests.RequestException as error:
            status = getattr(error.response, "status_code", 500)
            if attempt == _ATTEMPTS - 1 or isinstance(error, requests.exceptions.SSLError) or status < 500:
                raise seqx.UserError(
                    f"mtdata: {name} cannot be downloaded from {url} ({_reason(error)}); check the network, "
                    "and run the same command again"
                ) from None
            progress(f"downloading {name}: {_reason(error)}; trying again", None)
            time.sleep(2**attempt)
        except OSError as error:
            raise seqx.unwritable(file, error) from None
        else:
            return


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Import mtdata in the block without its handler for all log messages of the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        root.handlers[:] = handlers
        root.setLevel(level)


def _unreadable(name: str, error: Exception, files: Sequence[Path]) -> seqx.UserError:
    """Return the message about a damaged file."""
    advice = f"remove {', '.join(map(str, files)) or 'its files'}, and run the same command again"
    return seqx.UserError(f"mtdata: the file of {name} cannot be read ({_reason(error)}); {advice}")


def _no_progress(activity: str, fraction: float | None) -> None:
    """Ignore the progress."""


def _reason(error: Exception) -> str:
    """Return the message of an error on one line, or the name of its class."""
    return " ".join(str(error).split()) or type(error).__name__
