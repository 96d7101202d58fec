"""Corpora of tables with named columns: TSV, CSV, JSON lines, Parquet, and what `datasets` loads."""

import csv
import json
import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MinLen

import seqx
from seqx_text.file_corpus import FileCorpus, Stamp

Format = Literal["auto", "tsv", "csv", "jsonl", "parquet"]
_ENDINGS: dict[str, Format] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_MAX_VALUE = 1 << 24  # characters of a value in a CSV file, as many as a line may have bytes
_SHOWN = 10  # columns that a message lists


@dataclass(kw_only=True)
class NamedColumns(FileCorpus):
    """A corpus whose columns have names.

    A number becomes text, a missing value or NaN an empty text, and a line break in a text a space.

    Args:
        columns: the name of each column of a row; `translation.de` is the field `de` in the field
            `translation`
    """

    columns: Annotated[list[str], MinLen(1)]

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.columns)

    @abstractmethod
    def records(self, files: Sequence[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the location and the values of each row of a part."""

    def read(self, files: Sequence[Path]) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a part."""
        for location, record in self.records(files):
            yield tuple(_text(_value(record, name, location), name, location) for name in self.columns)

    def location_in_part(self, files: Sequence[Path], row: int) -> str:
        """Return the location of a row of a part, counted from 0."""
        return next(location for location, _ in islice(self.records(files), row, None))


@dataclass(kw_only=True)
class Table(NamedColumns):
    """Tables with named columns: TSV, CSV, JSON lines (an object per line) and Parquet.

    Text is UTF-8, plain or compressed with gzip, bzip2, xz or zstd. `${NAME}` in a path is replaced by the
    environment variable; relative paths start at the current folder. A TSV has no quotes.

    Args:
        train: training files, read one after the other
        dev: validation files
        test: test files
        format: the format of all files; auto: by the ending of each name, such as .jsonl.gz
        header: the first line of a TSV or CSV has the names of its columns; if false, they are 0, 1, ...
    """

    train: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    format: Format = "auto"
    header: bool = True

    def records(self, files: Sequence[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the location and the values of each row of a file."""
        (path,) = files
        self.stamps(files)
        match self._format(path):
            case "parquet":
                return _parquet_records(path, self.columns)
            case "jsonl":
                return _json_records(path)
            case format_:
                return _separated_records(path, self.columns, is_csv=format_ == "csv", header=self.header)

    def _format(self, path: Path) -> Format:
        if self.format != "auto":
            return self.format
        endings = [ending for ending in path.suffixes if ending not in _COMPRESSED]
        if not endings or endings[-1] not in _ENDINGS:
            raise seqx.UserError(
                f"{path}: the ending of its name is none of {', '.join(_ENDINGS)}; set format of the corpus"
            )
        return _ENDINGS[endings[-1]]


@dataclass(kw_only=True)
class Datasets(NamedColumns):
    """Everything that Hugging Face's `datasets` loads: datasets of its hub, and local files and folders.

    It needs the extra `datasets`. No code of a dataset is run.

    Args:
        path: a name on the hub, a folder written by `save_to_disk`, or a format such as json, csv, parquet
        name: the configuration of the dataset, such as de-en
        revision: the version of a dataset on the hub
        data_files: local files, by the name of the split in the dataset
        train: the split of the dataset that is the training set, such as train or train[:10000]
        dev: the split that is the development set; empty: none
        test: the split that is the test set; empty: none
    """

    path: str
    name: str | None = None
    revision: str | None = None
    data_files: dict[str, list[str]] = field(default_factory=dict)
    train: str = "train"
    dev: str = "validation"
    test: str = "test"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._folder: Path | None = None
        self._loaded: dict[str, Any] = {}

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Load the dataset into `folder`, and read it once."""
        self._folder = folder / "datasets"
        super().fetch(folder, progress, splits)

    def parts(self, split: str) -> list[list[Path]]:
        """Return one part: the split of the dataset takes the place of a file."""
        return [[Path(getattr(self, split))]]

    def required_data(self, folder: Path) -> None:
        """Return None: a dataset may be downloaded or local."""

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report nothing: a dataset is loaded when it is fetched."""
        yield from ()

    def stamps(self, files: Sequence[Path]) -> list[Stamp]:
        """Return stamps that are always equal: a loaded dataset does not change."""
        return [(0, 0) for _ in files]

    def records(self, files: Sequence[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the location and the values of each row of a split of the dataset."""
        split = str(files[0])
        for number, record in enumerate(self._load(split), 1):
            yield f"{self.path} ({split}):{number}", record

    def _load(self, split: str) -> Any:
        """Return a split of the dataset.

        Raises:
            UserError: the package is missing, or the dataset cannot be loaded
        """
        if split not in self._loaded:
            datasets = seqx.import_extra("datasets", "datasets")
            datasets.disable_progress_bars()
            local = seqx.expand_path(self.path)
            try:
                if (local / "dataset_dict.json").is_file():
                    self._loaded[split] = datasets.load_from_disk(str(local))[split]
                else:
                    self._loaded[split] = datasets.load_dataset(
                        str(local) if local.exists() else self.path,
                        self.name,
                        data_files={key: _paths(names) for key, names in self.data_files.items()} or None,
                        revision=self.revision,
                        split=split,
                        cache_dir=None if self._folder is None else str(self._folder),
                    )
            except Exception as error:  # noqa: BLE001  each format has errors of its own
                reason = " ".join(str(error).split())
                raise seqx.UserError(
                    f"datasets: the split {split!r} of {self.path} cannot be loaded ({reason}); correct "
                    "path, name, data_files or the name of the split"
                ) from None
        return self._loaded[split]


def _paths(names: Sequence[str]) -> list[str]:
    return [str(seqx.expand_path(name)) for name in names]


def _separated_records(
    path: Path, columns: Sequence[str], *, is_csv: bool, header: bool
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows of a TSV or CSV.

    Raises:
        UserError: a row has another number of columns than the first one, or invalid quotes; or several
            columns have the name of one of `columns`
    """
    lines = seqx.read_lines(path, refuse_pipes=True)
    csv.field_size_limit(_MAX_VALUE)  # Python's default is 131,072
    reader = csv.reader((f"{line}\n" for line in lines), strict=True)
    rows: Iterator[Sequence[str]] = reader if is_csv else (line.split("\t") for line in lines)
    names: Sequence[str] | None = None
    end = 0  # the last line of the row before
    try:
        for row in rows:
            number = end + 1
            end = reader.line_num if is_csv else number
            if names is None:
                names = row if header else [*map(str, range(len(row)))]
                if header:
                    _check_names(names, columns, f"{path}:{number}")
                    continue
            if len(row) != len(names):
                raise seqx.UserError(
                    f"{path}:{number}: has {len(row)} columns, but line 1 has {len(names)}; correct the line"
                )
            yield f"{path}:{number}", dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise seqx.UserError(f"{path}:{end + 1}: is not valid CSV ({error}); correct the line") from None


def _json_records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the objects of a file of JSON lines.

    Raises:
        UserError: a line is not a JSON object, or an object has a key twice
    """
    for number, line in enumerate(seqx.read_lines(path, refuse_pipes=True), 1):
        try:
            record = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise seqx.UserError(
                f"{path}:{number}: is not JSON ({error}); write an object per line"
            ) from None
        if not isinstance(record, dict):
            raise seqx.UserError(f"{path}:{number}: is not a JSON object; write an object per line")
        yield f"{path}:{number}", record


def _parquet_records(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows of a Parquet file.

    Raises:
        UserError: the package pyarrow is missing, the file is damaged, or several columns have the name of
            one of `columns`
    """
    arrow, parquet = (seqx.import_extra(name, "datasets") for name in ("pyarrow", "pyarrow.parquet"))
    try:
        with parquet.ParquetFile(path) as table:
            known = set(table.schema_arrow.names)
            wanted = {name if name in known else name.split(".")[0] for name in columns}
            _check_names(table.schema_arrow.names, wanted, str(path))
            number = 0
            for batch in table.iter_batches(columns=sorted(wanted & known) or None):
                for number, record in enumerate(batch.to_pylist(), number + 1):  # noqa: B020
                    yield f"{path}:{number}", record
    except (arrow.ArrowException, OSError) as error:
        raise seqx.UserError(f"{path}: cannot be read as Parquet ({error}); copy it again") from None


def _check_names(names: Sequence[str], columns: Iterable[str], location: str) -> None:
    """Check that at most one column has each of the names `columns`.

    Raises:
        UserError: several columns have the same name
    """
    for column in columns:
        if names.count(column) > 1:
            raise seqx.UserError(
                f"{location}: {names.count(column)} columns are named {column!r}; rename one"
            )


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: it has a key twice
    """
    record = dict(pairs)
    if len(record) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return record


def _value(record: Mapping[str, Any], name: str, location: str) -> Any:
    """Return the value of a column, or of a field in a field.

    Raises:
        UserError: there is no such column
    """
    if name in record:
        return record[name]
    value: Any = record
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            names = [str(each) for each in record]
            listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
            raise seqx.UserError(f"{location}: there is no column {name!r}; there are: {listed}")
        value = value[key]
    return value


def _text(value: Any, name: str, location: str) -> str:
    """Return a value as one line of text.

    Raises:
        UserError: the value is neither text nor a number, or no valid Unicode
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str | int | float):
        raise seqx.UserError(
            f"{location}: the column {name!r} has a value of type {type(value).__name__}; name a column of "
            f"text, or a field, such as {name}.en"
        )
    text = re.sub(r"[\r\n]+", " ", str(value))
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can escape one half of a surrogate pair
        raise seqx.UserError(
            f"{location}: the column {name!r} has half of a surrogate pair, which is not text; correct it"
        ) from None
    return text
