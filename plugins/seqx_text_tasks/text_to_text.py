"""Tasks that predict a column of a corpus from other columns, such as question answering."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

import seqx
from seqx_text_tasks.template import Template


@dataclass(kw_only=True, eq=False)
class ColumnTask(seqx.TextPairTask):
    """Prediction of one column of a corpus from other columns.

    An input is a line with the columns of the template in ascending order, separated by tabs.

    Args:
        template: the source: text with placeholders of columns, such as `question: {0} context: {1}`
        target: the column of the target, counted from 0
        truncate: truncate inputs of more than `max_length` tokens, also in training; if false, they are read
            completely, but training rows with such inputs are dropped
    """

    template: str = "{0}"
    target: Annotated[int, Ge(0)] = 1
    truncate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._template = Template(self.template)
        if not self._template.columns:
            raise ValueError(f"template {self.template!r} has no placeholder of a column, such as {{0}}")
        if self.target in self._template.columns:
            raise ValueError(f"template {self.template!r} reads column {self.target}, which is the target")

    def columns(self) -> Mapping[str, int]:
        """Return the largest column of each setting."""
        return {"template": max(self._template.columns), "target": self.target}

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the source columns of each row, separated by tabs, and its target."""
        columns = {
            "task.target": self.target,
            "the largest column of task.template": max(self._template.columns),
        }
        for row in self.corpus.rows(split):
            target, _ = seqx.select_columns(row, columns)
            yield self._template.to_input(row), target

    def source_text(self, text: str) -> str:
        """Return the normalized text of the filled template."""
        return super().source_text(self._template.fill(text))

    def source_ids(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return the ids of a source with EOS; truncate them if `truncate` is true."""
        ids = super().source_ids(text, rng)
        return (
            [*ids[: self.max_length - 1], seqx.EOS] if self.truncate and len(ids) > self.max_length else ids
        )

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[seqx.AnswerWarning]:
        """Return a warning that counts the input if it was truncated."""
        truncated = self.truncate and len(super().source_ids(self.source_text(text))) > self.max_length
        message = f"inputs have more than {self.max_length} tokens; their ends were not read"
        return [*super().answer_warnings(text, answers), seqx.AnswerWarning(message, int(truncated), 1)]


@dataclass(kw_only=True, eq=False)
class TextToText(ColumnTask, seqx.Seq2SeqTask):
    """Prediction of one column of a corpus from other columns (Raffel et al. 2020, section 2.4).

    An input is a line with the columns of the template in ascending order, separated by tabs.
    """

    next_commands = ("echo {input} | seqx answer {model}",)
    starting_point = seqx.StartingPoint(
        columns=("source text", "target text"),
        template=Path(__file__).parent / "starting_points/text_to_text.yaml",
    )
