"""A corpus that mixes several corpora."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt

import seqx


@dataclass(kw_only=True)
class Mixed(seqx.Corpus):
    """Training text from several corpora, one after the other.

    All corpora need the same number of columns. Listing a corpus twice does not give it more weight, because
    repeated rows are removed from training; use `weights`.

    Args:
        corpora: the corpora
        judged_by: use the dev and test rows of the first corpus or of all
        weights: number of times that each corpus's training rows occur in an epoch; null: once. If a weight
            is above 1, repeated rows within a corpus are kept, too
    """

    corpora: Sequence[seqx.Corpus]
    judged_by: Literal["first", "all"] = "first"
    weights: Sequence[Annotated[int, Gt(0)]] | None = None

    def __post_init__(self) -> None:
        if not self.corpora:
            raise ValueError("mixed: corpora is empty; name at least one corpus")
        if self.weights is not None and len(self.weights) != len(self.corpora):
            raise ValueError(
                f"mixed: {len(self.weights)} weights for {len(self.corpora)} corpora; give one for each"
            )
        self._weights = self.weights or [1] * len(self.corpora)
        self.unique = max(self._weights) == 1 and all(corpus.unique for corpus in self.corpora)

    @property
    def available(self) -> Sequence[str]:
        """The splits: "train" if all corpora have it; "dev" and "test" if the corpora used for them do."""
        trainable = all("train" in corpus.available for corpus in self.corpora)
        others = [
            split
            for split in seqx.SPLITS[1:]
            if all(split in corpus.available for corpus in self._evaluation_corpora)
        ]
        return [*(["train"] if trainable else []), *others]

    @property
    def width(self) -> int | None:
        """The number of columns, which is the same in all corpora."""
        return self.corpora[0].width

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report corpora without training text, or with another number of columns than the first."""
        for number, corpus in enumerate(self.corpora):
            if "train" not in corpus.available:
                yield f"corpora.{number}", "it has no training text; remove it"
            elif None not in (corpus.width, self.width) and corpus.width != self.width:
                yield f"corpora.{number}", f"it has {corpus.width} columns, and the first has {self.width}"

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Fetch all corpora if "train" is among `splits`, else only those with the dev and test rows.

        Raises:
            UserError: a corpus cannot be fetched, has no rows, or another number of columns
        """
        if "train" not in splits:
            for corpus in self._evaluation_corpora:
                corpus.fetch(folder, progress, splits)
            return
        widths = []
        for number, corpus in enumerate(self.corpora):
            corpus.fetch(folder, progress, splits)
            first = next(corpus.rows("train"), None)
            if first is None:
                raise seqx.UserError(f"mixed: corpora.{number} has no training rows; remove it")
            widths.append(len(first))
        if len(set(widths)) > 1:
            raise seqx.UserError(f"mixed: all corpora need as many columns as the first, found {widths}")

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split; training rows are repeated by their corpus's weight."""
        return chain.from_iterable(corpus.rows(split) for corpus in self._parts(split))

    def place(self, split: str, row: int) -> str:
        """Return the place of a row in its own corpus."""
        for corpus in self._parts(split):
            count = sum(1 for _ in islice(corpus.rows(split), row + 1))
            if count > row:
                return corpus.place(split, row)
            row -= count
        return super().place(split, row)

    def _parts(self, split: str) -> Iterable[seqx.Corpus]:
        """Return the corpora of a split in order, each repeated by its weight."""
        if split != "train":
            return self._evaluation_corpora
        pairs = zip(self.corpora, self._weights, strict=True)
        return chain.from_iterable(repeat(corpus, weight) for corpus, weight in pairs)

    def identity(self) -> Mapping[str, object]:
        """Return the identities of the corpora, in order, and how they are mixed."""
        return {
            "corpora": [corpus.identity() for corpus in self.corpora],
            "judged_by": self.judged_by,
            "weights": list(self._weights),
        }

    @property
    def _evaluation_corpora(self) -> Sequence[seqx.Corpus]:
        """The corpora whose dev and test rows are used."""
        return self.corpora if self.judged_by == "all" else self.corpora[:1]
