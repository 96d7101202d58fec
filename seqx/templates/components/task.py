from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import seqx


@dataclass(kw_only=True, eq=False)
class Newcomer(seqx.GenerationTask):
    """The task of writing a line in reverse, last character first.

    Args:
        corpus: corpus whose first column has the lines
        tokenizer: tokenizer of the lines and of the reversed lines
        metric: metric that scores the answers
    """

    corpus: seqx.Corpus
    tokenizer: seqx.Tokenizer
    metric: seqx.Metric

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        return {"source": self.tokenizer.size, "target": self.tokenizer.size}

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        self.corpus.fetch(folder, progress, splits)

    def identity(self) -> Mapping[str, object]:
        return self.corpus.identity()

    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None:
        self.tokenizer.learn((text for row in self.rows("train") for text in row), folder / "tokenizer")

    def load(self, folder: Path) -> None:
        self.tokenizer.load(folder / "tokenizer")

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        return ((row[0], row[0][::-1]) for row in self.corpus.rows(split))

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        if training and not row[0]:
            return seqx.Rejected("empty")
        source, target = ([*self.tokenizer.encode(text), seqx.EOS] for text in row)
        return seqx.Example(columns={"source": source, "target": target})

    def read(self, text: str) -> Mapping[str, list[int]]:
        return {"source": [*self.tokenizer.encode(text), seqx.EOS]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        return self.tokenizer.decode(ids)

    def inputs(self, split: seqx.Split) -> list[str]:
        return [source for source, _ in split.rows]

    def references(self, split: seqx.Split) -> list[str]:
        return [target for _, target in split.rows]

    def evaluate(self, model: seqx.TextModel, split: seqx.Split) -> seqx.Evaluation:
        outputs = model(self.inputs(split))
        return seqx.Evaluation(scores=self.metric(outputs, self.references(split)))


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Task, newcomer=Newcomer)
