"""A corpus whose text says what is to be done with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

import seqx


@dataclass(kw_only=True)
class TaggedCorpus(seqx.Corpus):
    """Another corpus, with a tag before the text of one column, and a space between.

    As the first word of the source, a tag says which language is wanted, so that one model translates into
    several (Johnson et al. 2017, section 3), or that a pair was back-translated (Caswell et al. 2019).

    Args:
        corpus: where rows come from
        tag: a word that occurs nowhere else, as <2de>; name it among the tokenizer's symbols, too
        column: the column that gets it, from 0
    """

    corpus: seqx.Corpus
    tag: str
    column: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if not self.tag or self.tag.split() != [self.tag]:
            raise ValueError(f"tagged: tag is {self.tag!r}; give one word, as <2de>")
        self.unique = self.corpus.unique

    @property
    def available(self) -> Sequence[str]:
        """The splits of the other corpus."""
        return self.corpus.available

    @property
    def width(self) -> int | None:
        """The number of columns of the other corpus."""
        return self.corpus.width

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report a column that the corpus does not have."""
        if self.width is not None and self.column >= self.width:
            yield "column", f"it is {self.column}, but the corpus has {self.width} columns, counted from 0"

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Have the other corpus at hand."""
        self.corpus.fetch(folder, progress, splits)

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The rows of the other corpus; text that is empty stays so.

        Raises:
            UserError: there is no such column
        """
        for row in self.corpus.rows(split):
            if self.column >= len(row):
                raise seqx.UserError(
                    f"tagged: column is {self.column}, but the corpus has {len(row)} columns, counted from 0"
                )
            text = row[self.column]
            tagged = f"{self.tag} {text}" if text.strip() else text
            yield (*row[: self.column], tagged, *row[self.column + 1 :])

    def place(self, split: str, row: int) -> str:
        """Return the place of a row in the other corpus."""
        return self.corpus.place(split, row)

    def identity(self) -> Mapping[str, object]:
        """What the other corpus's rows are made from, and what stands before them."""
        return {"corpus": self.corpus.identity(), "tag": self.tag, "column": self.column}
