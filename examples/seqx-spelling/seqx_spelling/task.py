"""The task of spelling correction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import seqx
from annotated_types import Gt


@dataclass(kw_only=True, eq=False)
class Spelling(seqx.GenerationTask):
    """Spelling correction: the source is a misspelt word, the target the correct one.

    Args:
        corpus: rows of a misspelt word and the correct one
        tokenizer: tokenizer of the words
        metrics: metrics of the answers, the most important one first
        max_length: largest number of tokens, with EOS, of a training word; longer words are dropped
    """

    corpus: seqx.Corpus
    tokenizer: seqx.Tokenizer
    metrics: list[seqx.Metric]
    max_length: Annotated[int, Gt(1)] = 40

    def __post_init__(self) -> None:
        """Check that there is a metric."""
        if not self.metrics:
            raise ValueError("metrics is empty; name at least one, as in metrics: [word_accuracy]")

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The size of the vocabulary, which source and target share."""
        return {"source": self.tokenizer.size, "target": self.tokenizer.size}

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Fetch the corpus."""
        self.corpus.fetch(folder, progress, splits)

    def identity(self) -> Mapping[str, object]:
        """Return the identity of the corpus."""
        return self.corpus.identity()

    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Learn the vocabulary from the training split."""
        progress("learning the vocabulary", None)
        self.tokenizer.learn(chain.from_iterable(self.rows("train")), folder / "tokenizer")

    def load(self, folder: Path) -> None:
        """Load the vocabulary from `folder`."""
        self.tokenizer.load(folder / "tokenizer")

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Return misspelt words with the correct ones."""
        return self.corpus.rows(split)

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the ids of both words, with EOS."""
        source, target = ([*self.tokenizer.encode(word), seqx.EOS] for word in row)
        if training and max(len(source), len(target)) > self.max_length:
            return seqx.Rejected("too long")
        return seqx.Example(columns={"source": source, "target": target})

    def read(self, text: str) -> Mapping[str, list[int]]:
        """Return the ids of a word to correct."""
        return {"source": [*self.tokenizer.encode(text.strip()), seqx.EOS]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """Return the corrected word."""
        return self.tokenizer.decode(ids)

    def inputs(self, split: seqx.Split) -> list[str]:
        """Return the misspelt words of a split."""
        return [wrong for wrong, _ in split.rows]

    def references(self, split: seqx.Split) -> list[str]:
        """Return the correct words of a split."""
        return [right for _, right in split.rows]

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the metrics' scores."""
        return [name for metric in self.metrics for name in metric(["word"], ["word"])]

    def evaluate(self, model: seqx.TextModel, split: seqx.Split) -> seqx.Evaluation:
        """Correct the words of a split, and compare them with the references."""
        inputs, references = self.inputs(split), self.references(split)
        outputs = model(inputs)
        scores: dict[str, seqx.Score] = {}
        for metric in self.metrics:
            scores |= metric(outputs, references)
        answers = [
            seqx.Answer(input=wrong, output=output, reference=right)
            for wrong, output, right in zip(inputs, outputs, references, strict=True)
        ]
        return seqx.Evaluation(scores=scores, answers=answers)
