"""Spelling correction as a task: a word in, the right word out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import seqx
from annotated_types import Gt


@dataclass(kw_only=True, eq=False)
class Spelling(seqx.Task):
    """Mends misspelt words.

    Args:
        corpus: rows of a misspelt word and the right one
        tokenizer: what makes ids of words
        metrics: how answers are judged, the one that counts first
        max_length: most tokens, with EOS, of a word that is trained on; longer ones are dropped
    """

    corpus: seqx.Corpus
    tokenizer: seqx.Tokenizer
    metrics: list[seqx.Metric]
    max_length: Annotated[int, Gt(1)] = 40

    def __post_init__(self) -> None:
        """Refuse to judge by nothing."""
        if not self.metrics:
            raise ValueError("metrics is empty; name one at least, as in metrics: [word_accuracy]")

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """One vocabulary, for what is read and what is written."""
        return {"source": self.tokenizer.size, "target": self.tokenizer.size}

    def fetch(self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS) -> None:
        """Have the corpus at hand."""
        self.corpus.fetch(folder, progress, splits)

    def identity(self) -> Mapping[str, object]:
        """What the corpus is made from."""
        return self.corpus.identity()

    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Learn the vocabulary from the training words."""
        progress("learning the vocabulary", None)
        self.tokenizer.learn(chain.from_iterable(self.rows("train")), folder / "tokenizer")

    def load(self, folder: Path) -> None:
        """Use the vocabulary in `folder`."""
        self.tokenizer.load(folder / "tokenizer")

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Misspelt words and right ones."""
        return self.corpus.rows(split)

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """The ids of both words, with EOS."""
        source, target = ([*self.tokenizer.encode(word), seqx.EOS] for word in row)
        if training and max(len(source), len(target)) > self.max_length:
            return seqx.Rejected("too long")
        return seqx.Example(columns={"source": source, "target": target})

    def read(self, text: str) -> Mapping[str, list[int]]:
        """The ids of a word to mend."""
        return {"source": [*self.tokenizer.encode(text.strip()), seqx.EOS]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """The mended word."""
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
