"""A base class of tasks that answer inputs, but have no corpus."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import seqx


class TaskWithoutData(seqx.GenerationTask):
    """A task without rows. A subclass implements `vocab_sizes`, `read` and `write`."""

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None: ...
    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None: ...
    def load(self, folder: Path) -> None: ...

    def identity(self) -> Mapping[str, object]:
        return {}

    def rows(self, split: str) -> Iterator[tuple[Any, ...]]:
        return iter(())

    def example(self, row: tuple[Any, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        return seqx.Rejected("all")

    def inputs(self, split: seqx.Split) -> list[Any]:
        return []

    def references(self, split: seqx.Split) -> list[str]:
        return []

    def evaluate(self, model: seqx.TextModel, split: seqx.Split) -> seqx.Evaluation:
        return seqx.Evaluation(scores={})
