"""Translation: text in, text out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

import seqx
from seqx_translation.pieces import pieces


@dataclass(kw_only=True, eq=False)
class Translation(seqx.TextPairs):
    """Translates one column of a corpus into another.

    Args:
        corpus: where sentence pairs come from
        tokenizer: what makes ids of text; of both languages together, unless `target_tokenizer` is set
        target_tokenizer: another tokenizer for the target language
        ratio: most tokens of the longer side for one of the shorter; other pairs are dropped as badly matched
        source: the column of the corpus that is translated, from 0
        target: the column that it is translated into
    """

    ratio: Annotated[float, Ge(1)] = 4.0
    source: Annotated[int, Ge(0)] = 0
    target: Annotated[int, Ge(0)] = 1

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ValueError(f"source and target are the same column of the corpus, {self.source}")
        super().__post_init__()

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Source and target of each pair."""
        for row in self.corpus.rows(split):
            if max(self.source, self.target) >= len(row):
                raise seqx.UserError(
                    f"task.source is {self.source} and task.target {self.target}, "
                    f"but the corpus has {len(row)} columns, counted from 0"
                )
            yield row[self.source], row[self.target]

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Dropped:
        """The ids of both sides, with EOS."""
        made = super().example(row, training=training)
        if training and isinstance(made, seqx.Example):
            shorter, longer = sorted(map(len, made.columns.values()))
            if longer > self.ratio * shorter:
                return seqx.Dropped("badly matched")
        return made

    def pieces(self, text: str, longest: int) -> list[str]:
        """A text of more than `longest` tokens as its sentences, and these as parts where they must be."""
        return pieces(text, lambda part: len(self.read(part)["source"]) <= longest)
