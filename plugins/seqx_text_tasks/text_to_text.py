"""Text to text: summaries, answers to questions, whatever reads text and writes text."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

import seqx
from seqx_text_tasks.template import Template


@dataclass(kw_only=True, eq=False)
class TextToText(seqx.Seq2SeqTask):
    """Writes one column of a corpus, having read others (Raffel et al. 2020, section 2.4).

    An input is a line: the columns that the template has places for, in ascending order, with tabs between.

    Args:
        template: what is read: text with places for columns, as `question: {0} context: {1}`
        target: the column that is written, from 0
        truncate: whether inputs of more than `max_length` tokens are cut at their end, in training too; else
            they are read whole, and dropped in training
    """

    template: str = "{0}"
    target: Annotated[int, Ge(0)] = 1
    truncate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._template = Template(self.template)
        if not self._template.columns:
            raise ValueError(f"template {self.template!r} has no place for a column, as {{0}}")
        if self.target in self._template.columns:
            raise ValueError(f"template {self.template!r} reads column {self.target}, which is the target")

    def columns(self) -> Mapping[str, int]:
        """The columns of the sources, and that of the target."""
        return {"template": max(self._template.columns), "target": self.target}

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The columns that are read, as a user would type them, and the target of each row."""
        most = max(self.target, *self._template.columns)
        for row in self.corpus.rows(split):
            if most >= len(row):
                raise seqx.UserError(
                    f"task.template is {self.template!r} and task.target {self.target}, "
                    f"but the corpus has {len(row)} columns, counted from 0"
                )
            yield self._template.typed(row), row[self.target]

    def source_text(self, text: str) -> str:
        """The template filled with the columns of an input, and normalized."""
        return super().source_text(self._template.fill(text))

    def source_ids(self, text: str, rng: random.Random | None = None) -> list[int]:
        """The ids of a source text, with EOS, cut where that was asked for."""
        ids = super().source_ids(text, rng)
        return (
            [*ids[: self.max_length - 1], seqx.EOS] if self.truncate and len(ids) > self.max_length else ids
        )

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[seqx.AnswerWarning]:
        """Count the input if it was truncated."""
        truncated = self.truncate and len(super().source_ids(self.source_text(text))) > self.max_length
        message = f"inputs have more than {self.max_length} tokens; their ends were not read"
        return [seqx.AnswerWarning(message, int(truncated), 1)]
