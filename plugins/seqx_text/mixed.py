"""Several corpora as one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt

import seqx


@dataclass(kw_only=True)
class Mixed(seqx.Corpus):
    """Several corpora to learn from, one after the other.

    Their rows must have equally many columns. To name a corpus twice gives it no more weight, since repeated
    rows are left out of training; `weights` do.

    Args:
        corpora: the corpora
        judged_by: whose dev and test rows are those of the mixture
        weights: how often an epoch has the training rows of each corpus; null: once. With any weight above 1,
            rows that a corpus itself repeats are not left out
    """

    corpora: Sequence[seqx.Corpus]
    judged_by: Literal["first", "all"] = "first"
    weights: Sequence[Annotated[int, Gt(0)]] | None = None

    def __post_init__(self) -> None:
        if not self.corpora:
            raise ValueError("mixed: there are no corpora to mix; name one at least")
        if self.weights is not None and len(self.weights) != len(self.corpora):
            raise ValueError(
                f"mixed: {len(self.weights)} weights for {len(self.corpora)} corpora; give one for each"
            )
        self._weights = self.weights or [1] * len(self.corpora)
        self.unique = max(self._weights) == 1 and all(corpus.unique for corpus in self.corpora)

    @property
    def available(self) -> Sequence[str]:
        """The splits: "train" if all corpora have it; "dev" and "test" if the corpora for them do."""
        learnt = all("train" in corpus.available for corpus in self.corpora)
        judged = [split for split in seqx.SPLITS[1:] if all(split in one.available for one in self._judges)]
        return [*(["train"] if learnt else []), *judged]

    @property
    def width(self) -> int | None:
        """The number of columns, which all corpora share."""
        return self.corpora[0].width

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report corpora without training text, or with another number of columns than the first."""
        for number, corpus in enumerate(self.corpora):
            if "train" not in corpus.available:
                yield f"corpora.{number}", "it has no training text; leave it out"
            elif None not in (corpus.width, self.width) and corpus.width != self.width:
                yield f"corpora.{number}", f"it has {corpus.width} columns, and the first has {self.width}"

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Have all of them at hand if "train" is wanted, else those that it is judged by.

        Raises:
            UserError: what one of them lacks, or that one has no rows, or others than the rest
        """
        if "train" not in splits:
            for corpus in self._judges:
                corpus.fetch(folder, progress, splits)
            return
        widths = []
        for number, corpus in enumerate(self.corpora):
            corpus.fetch(folder, progress, splits)
            first = next(corpus.rows("train"), None)
            if first is None:
                raise seqx.UserError(f"mixed: corpora.{number} has no rows to learn from; leave it out")
            widths.append(len(first))
        if len(set(widths)) > 1:
            raise seqx.UserError(f"mixed: all corpora need as many columns as the first, found {widths}")

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Those of all corpora for "train", as often as they weigh, else those of the first or of all."""
        return chain.from_iterable(corpus.rows(split) for corpus in self._parts(split))

    def place(self, split: str, row: int) -> str:
        """Return the place of a row in the corpus that it comes from."""
        for corpus in self._parts(split):
            count = sum(1 for _ in islice(corpus.rows(split), row + 1))
            if count > row:
                return corpus.place(split, row)
            row -= count
        return super().place(split, row)

    def _parts(self, split: str) -> Iterable[seqx.Corpus]:
        """Return the corpora of a split in their order, each repeated by its weight."""
        if split != "train":
            return self._judges
        heavy = (repeat(corpus, weight) for corpus, weight in zip(self.corpora, self._weights, strict=True))
        return chain.from_iterable(heavy)

    def identity(self) -> Mapping[str, object]:
        """What each corpus's rows are made from, in their order."""
        return {
            "corpora": [corpus.identity() for corpus in self.corpora],
            "judged_by": self.judged_by,
            "weights": list(self._weights),
        }

    @property
    def _judges(self) -> Sequence[seqx.Corpus]:
        return self.corpora if self.judged_by == "all" else self.corpora[:1]
