"""Several corpora as one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import seqx


@dataclass(kw_only=True)
class Mixed(seqx.Corpus):
    """Several corpora to learn from, one after the other; what to be judged by is the first one's.

    Their rows must have equally many columns. To name a corpus twice gives it no more weight, since repeated
    rows are left out of training.

    Args:
        corpora: the corpora; dev and test are those of the first
    """

    corpora: Sequence[seqx.Corpus]

    def __post_init__(self) -> None:
        if not self.corpora:
            raise ValueError("mixed: there are no corpora to mix; name one at least")

    def fetch(self, folder: Path, progress: seqx.Progress, splits: Sequence[str] = seqx.SPLITS) -> None:
        """Have all of them at hand if "train" is wanted, else the first.

        Raises:
            UserError: what one of them lacks, or that one has no rows, or others than the rest
        """
        if "train" not in splits:
            self.corpora[0].fetch(folder, progress, splits)
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
        """Those of all corpora for "train", else those of the first."""
        read = self.corpora if split == "train" else self.corpora[:1]
        return chain.from_iterable(corpus.rows(split) for corpus in read)

    def identity(self) -> Mapping[str, object]:
        """What each corpus's rows are made from, in their order."""
        return {"corpora": [corpus.identity() for corpus in self.corpora]}
