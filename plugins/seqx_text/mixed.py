"""A corpus that mixes several corpora."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Gt

import seqx


@dataclass(kw_only=True)
class Mixed(seqx.Corpus):
    """The training rows of several corpora, one corpus after the other.

    All corpora need the same number of columns. To train on a corpus more often than on the others, set
    `weights`. Listing it twice has no effect, because repeated rows are removed from training.

    Args:
        corpora: the corpora
        evaluate_on: corpora whose dev and test rows are used: only the first one, or all
        weights: number of times that the training rows of each corpus occur in an epoch; once if null. If a
            weight is above 1, repeated rows within a corpus are not removed either
    """

    renamed: ClassVar[Mapping[str, str]] = {"judged_by": "evaluate_on"}

    corpora: Sequence[seqx.Corpus]
    evaluate_on: Literal["first", "all"] = "first"
    weights: Sequence[Annotated[int, Gt(0)]] | None = None

    def __post_init__(self) -> None:
        if not self.corpora:
            raise ValueError("mixed: corpora is empty; list at least one corpus")
        if self.weights is not None and len(self.weights) != len(self.corpora):
            raise ValueError(
                f"mixed: {len(self.weights)} weights for {len(self.corpora)} corpora; set one for each corpus"
            )
        self._weights = self.weights or [1] * len(self.corpora)
        self.unique = max(self._weights) == 1 and all(corpus.unique for corpus in self.corpora)

    @property
    def available(self) -> Sequence[str]:
        """The splits that all corpora have; for "dev" and "test", all corpora that `evaluate_on` selects."""
        return [
            split
            for split in seqx.SPLITS
            if all(split in corpus.available for corpus in self._corpora_of(split))
        ]

    @property
    def width(self) -> int | None:
        """The number of columns, which is the same in all corpora."""
        return self.corpora[0].width

    @property
    def languages(self) -> Sequence[str]:
        """The languages of the columns, if all corpora have the same."""
        (first, *others) = [tuple(corpus.languages) for corpus in self.corpora]
        return first if all(languages == first for languages in others) else ()

    def required_data(self, folder: Path) -> seqx.RequiredData | None:
        """Return the data of all corpora; None if that of one is not known."""
        total = seqx.RequiredData()
        for corpus in self.corpora:
            required = corpus.required_data(folder)
            if required is None:
                return None
            total += required
        return total

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report corpora without training text, and corpora with another number of columns than the first."""
        for number, corpus in enumerate(self.corpora):
            if "train" not in corpus.available:
                yield f"corpora.{number}", "this corpus has no training text; remove it"
            elif None not in (corpus.width, self.width) and corpus.width != self.width:
                problem = f"this corpus has {corpus.width} columns, but the first has {self.width}"
                yield f"corpora.{number}", f"{problem}; all corpora need the same number"

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Fetch all corpora if "train" is among `splits`, else only those that `evaluate_on` selects.

        Raises:
            UserError: a corpus cannot be fetched or has no training rows, or numbers of columns differ
        """
        if "train" not in splits:
            for corpus in self._evaluation_corpora:
                corpus.fetch(folder, progress, splits)
            return
        widths, fetches_all = [], {*self.available} <= {*splits}
        for number, corpus in enumerate(self.corpora):
            # A corpus may have more splits than this one; its identity is valid after a fetch of all of them.
            corpus.fetch(folder, progress, corpus.available if fetches_all else splits)
            first_row = next(corpus.rows("train"), None)
            if first_row is None:
                raise seqx.UserError(f"mixed: corpora.{number} has no training rows; remove this corpus")
            widths.append(len(first_row))
        if len(set(widths)) > 1:
            raise seqx.UserError(
                f"mixed: all corpora need the same number of columns, but they have {widths}; "
                "remove those that differ"
            )

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split; the training rows of a corpus are repeated by its weight."""
        return chain.from_iterable(corpus.rows(split) for corpus in self._repeated_corpora(split))

    def num_rows(self, split: str) -> int | None:
        """Return the sum over the corpora, with their weights; None if one of them is unknown."""
        counts = [corpus.num_rows(split) for corpus in self._repeated_corpora(split)]
        return None if None in counts else sum(filter(None, counts))

    def row_location(self, split: str, row: int) -> str:
        """Return the place of a row in the corpus that it comes from."""
        for corpus in self._repeated_corpora(split):
            count = corpus.num_rows(split)
            if count is None:
                count = sum(1 for _ in islice(corpus.rows(split), row + 1))
            if count > row:
                return corpus.row_location(split, row)
            row -= count
        return super().row_location(split, row)

    def _repeated_corpora(self, split: str) -> Iterable[seqx.Corpus]:
        """Return the corpora of a split in order; in training, each is repeated by its weight."""
        corpora = self._corpora_of(split)
        if split != "train":
            return corpora
        pairs = zip(corpora, self._weights, strict=True)
        return chain.from_iterable(repeat(corpus, weight) for corpus, weight in pairs)

    def _corpora_of(self, split: str) -> Sequence[seqx.Corpus]:
        """Return the corpora of a split, each once."""
        return self.corpora if split == "train" else self._evaluation_corpora

    def identity(self) -> Mapping[str, object]:
        """Return the identities of the corpora in order, `evaluate_on` and the weights."""
        return {
            "corpora": [corpus.identity() for corpus in self.corpora],
            "judged_by": self.evaluate_on,  # the old name, so that cached data of earlier versions is found
            "weights": list(self._weights),
        }

    @property
    def _evaluation_corpora(self) -> Sequence[seqx.Corpus]:
        """The corpora whose dev and test rows are used."""
        return self.corpora if self.evaluate_on == "all" else self.corpora[:1]
