"""A corpus with a tag before each text of one column."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

import seqx


@dataclass(kw_only=True)
class TaggedCorpus(seqx.Corpus):
    """The rows of another corpus, with a tag and a space before the text of one column.

    As the first word of the source, a tag selects the target language of a multilingual model (Johnson et al.
    2017, section 3), or marks back-translated pairs (Caswell et al. 2019).

    Args:
        corpus: the other corpus
        tag: a word that does not occur in the text, such as <2de>; add it to the tokenizer's symbols
        column: the column that gets the tag, counted from 0
    """

    corpus: seqx.Corpus
    tag: str
    column: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if not self.tag or self.tag.split() != [self.tag]:
            raise ValueError(f"tagged: tag is {self.tag!r}; set one word, such as <2de>")
        self.unique = self.corpus.unique

    @property
    def available(self) -> Sequence[str]:
        """The splits of the other corpus."""
        return self.corpus.available

    @property
    def width(self) -> int | None:
        """The number of columns of the other corpus."""
        return self.corpus.width

    @property
    def languages(self) -> Sequence[str]:
        """The languages of the other corpus."""
        return self.corpus.languages

    def required_data(self, folder: Path) -> seqx.RequiredData | None:
        """Return the data of the other corpus."""
        return self.corpus.required_data(folder)

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report a `column` that the other corpus does not have."""
        if self.width is not None and self.column >= self.width:
            yield "column", seqx.missing_column("it", self.column, self.width)

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Fetch the other corpus."""
        self.corpus.fetch(folder, progress, splits)

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows with the tag; an empty text gets no tag.

        Raises:
            UserError: the other corpus does not have the column
        """
        for row in self.corpus.rows(split):
            (text,) = seqx.select_columns(row, {"tagged: column": self.column})
            tagged = f"{self.tag} {text}" if text.strip() else text
            yield (*row[: self.column], tagged, *row[self.column + 1 :])

    def num_rows(self, split: str) -> int | None:
        """Return the number of rows of the other corpus."""
        return self.corpus.num_rows(split)

    def row_location(self, split: str, row: int) -> str:
        """Return the place of a row in the other corpus."""
        return self.corpus.row_location(split, row)

    def identity(self) -> Mapping[str, object]:
        """Return the identity of the other corpus, the tag and its column."""
        return {"corpus": self.corpus.identity(), "tag": self.tag, "column": self.column}
