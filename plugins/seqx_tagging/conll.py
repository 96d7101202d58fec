"""Files with one word per line, in columns, and an empty line after each sentence."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import seqx

_DOCUMENT = "-DOCSTART-"  # the beginning of a line before the sentences of a document


@dataclass(kw_only=True)
class Conll(seqx.Corpus):
    """Words and tags in the columns of text files, as in the shared tasks of CoNLL (Tjong Kim Sang 2000).

    Each line has one word. Columns are separated by tabs, or by spaces if the line has no tab. An empty line
    ends a sentence. Lines that begin with -DOCSTART- are skipped. Lines that begin with `comment` are skipped
    before the first word of a sentence, unless they have the columns of a word, as in `# # I-NP`.

    Args:
        train: training file
        dev: validation file
        test: test file
        words: column of the words, counted from 0
        tags: column of the tags, counted from 0; -1 is the last one
        comment: beginning of comments; if it is empty, there are none
    """

    train: str | None = None
    dev: str | None = None
    test: str | None = None
    words: int = 0
    tags: int = -1
    comment: str = "# "

    def __post_init__(self) -> None:
        self._hashes: dict[str, str] = {}

    @property
    def available(self) -> Sequence[str]:
        """The splits that have a file."""
        return [split for split in seqx.SPLITS if getattr(self, split) is not None]

    @property
    def width(self) -> int:
        """The number of columns: one of words, and one of tags."""
        return 2

    def required_data(self, folder: Path) -> seqx.RequiredData:
        """Return the file of each split."""
        return seqx.RequiredData(files=[*dict.fromkeys(getattr(self, split) for split in self.available)])

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report files that cannot be read, or whose first line lacks a column."""
        for split in self.available:
            try:
                next(self.rows(split), None)
            except seqx.UserError as error:
                yield split, str(error)

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Read the files of `splits` once, so that errors are found before training."""
        for split in splits:
            progress(f"reading {split}", None)
            digest = hashlib.sha256()
            for row in self.rows(split):
                digest.update("\n".join([*row, ""]).encode())
            self._hashes[split] = digest.hexdigest()

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the words and the tags of each sentence, separated by spaces."""
        for _, words, tags in self._sentences(split):
            yield " ".join(words), " ".join(tags)

    def row_location(self, split: str, row: int) -> str:
        """Return the file and line of the first word of a sentence."""
        for number, (line, _, _) in enumerate(self._sentences(split)):
            if number == row:
                return f"{getattr(self, split)}:{line}"
        return super().row_location(split, row)

    def identity(self) -> Mapping[str, object]:
        """Return the SHA-256 of the words and tags of each split."""
        return {split: self._hashes[split] for split in self.available}

    def _sentences(self, split: str) -> Iterator[tuple[int, list[str], list[str]]]:
        """Yield the number of the first line of each sentence, its words and its tags."""
        name = getattr(self, split)
        if name is None:
            raise seqx.UserError(f"conll: there is no text for {split}; set {split} to a file")
        find_words, lines = WordFinder(self.comment), list[str]()
        for number, line in enumerate(chain(seqx.read_lines(seqx.expand_path(name)), [""]), 1):
            if line.strip():
                lines.append(line)
                continue
            numbers = range(number - len(lines), number)
            numbers_of_words = [i for i, has_word in zip(numbers, find_words(lines), strict=True) if has_word]
            pairs = [self._columns(f"{name}:{i}", lines[i - number]) for i in numbers_of_words]
            if pairs:
                yield numbers_of_words[0], [word for word, _ in pairs], [tag for _, tag in pairs]
            lines = []

    def _columns(self, location: str, line: str) -> tuple[str, str]:
        """Return the word and the tag of a line, without spaces."""
        return (
            column_of(line, self.words, location, "(words)", "task.corpus.words"),
            column_of(line, self.tags, location, "(tags)", "task.corpus.tags"),
        )


class WordFinder:
    """A function that finds the lines with words in the sentences of a file in columns, in their order.

    Args:
        comment: beginning of comments, as in `Conll`
    """

    def __init__(self, comment: str) -> None:
        self._headers = (_DOCUMENT, comment) if comment else (_DOCUMENT,)
        self._form: tuple[bool, int] | None = None  # of the last sentence

    def __call__(self, lines: Sequence[str]) -> list[bool]:
        """Return for each line of a sentence true if it has a word. The lines are not empty."""
        first = next((i for i, line in enumerate(lines) if not line.startswith(self._headers)), len(lines))
        if first < len(lines):
            self._form = _form(lines[first])
        return [
            not line.startswith(_DOCUMENT) and (i >= first or _form(line) == self._form)
            for i, line in enumerate(lines)
        ]


def _form(line: str) -> tuple[bool, int]:
    """Return true if tabs separate the columns of a line, and their number."""
    return "\t" in line, len(_split(line))


def _split(line: str) -> list[str]:
    """Return the columns of a line."""
    return line.split("\t") if "\t" in line else line.split()


def column_of(line: str, index: int, location: str, content: str, setting: str) -> str:
    """Return a column of a line; columns are separated by tabs, or by spaces if the line has no tab.

    Args:
        line: the line
        index: the number of the column, from 0; -1 is the last one
        location: the file and the line, for a message
        content: the content of the column, for a message
        setting: the setting or option with the number of the column, for a message

    Returns:
        the column, with underscores instead of spaces

    Raises:
        UserError: the line has no such column
    """
    columns = ["_".join(column.split()) for column in _split(line)]
    if not -len(columns) <= index < len(columns) or not columns[index]:
        raise seqx.UserError(
            f"{location}: the line has no column {index} {content}: {line[:40]!r}; correct the line, or set "
            f"{setting}"
        )
    return columns[index]
