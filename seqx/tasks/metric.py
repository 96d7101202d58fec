"""Tasks whose rows a corpus gives, and those whose answers metrics compare with references."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqx.errors import UserError
from seqx.interfaces.nbest import sum_warnings
from seqx.interfaces.text import (
    SPLITS,
    Corpus,
    Metric,
    Normalizer,
    Problem,
    ProgressReporter,
    Split,
    Task,
    TextModel,
)
from seqx.interfaces.values import Answer, Evaluation, Score

# Metrics are tried on this before anything is trained: a missing package shows at once.
_TRIAL = ["This is a trial of some words."]
_OTHER_TRIAL = ["These are others."]


@dataclass(kw_only=True, eq=False)
class CorpusTask(Task):
    """A task whose rows a corpus gives.

    Args:
        corpus: where rows come from
    """

    corpus: Corpus

    @property
    def unique(self) -> bool:
        """Whether training rows that are repeated are to be left out, as the corpus says."""
        return self.corpus.unique

    @property
    def available(self) -> Sequence[str]:
        """The splits of the corpus."""
        return self.corpus.available

    def setting_errors(self) -> Iterable[Problem]:
        """Report a corpus without training text, or without a column that a setting names."""
        if "train" not in self.available:
            yield "corpus", "the corpus has no training text; set its 'train'"
        width = self.corpus.width
        for setting, column in self.columns().items():
            if width is not None and column >= width:
                yield setting, f"it is {column}, but the corpus has {width} columns, counted from 0"

    def columns(self) -> Mapping[str, int]:
        """The largest column of the corpus that each setting names."""
        return {}

    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Have the corpus at hand, with something to learn from or to answer in each of `splits`."""
        self.corpus.fetch(folder, progress, splits)
        for split in splits:
            if next(self.rows(split), None) is None:
                raise UserError(f"the corpus has no rows for {split}")

    def identity(self) -> Mapping[str, object]:
        """What the corpus's rows are made from."""
        return {"corpus": self.corpus.identity()}


@dataclass(kw_only=True, eq=False)
class MetricTask(CorpusTask):
    """A task whose rows a corpus gives, and whose answers metrics compare with references.

    Of a subclass, `rows` gives pairs: an input and the right answer to it.

    Args:
        metrics: how outputs are judged, the one that counts first
    """

    metrics: list[Metric]

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("metrics is empty; name one at least, as in metrics: [bleu]")

    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Have the corpus at hand, with rows in each of `splits`, and metrics that work."""
        self.scores(_TRIAL, _TRIAL)
        super().fetch(folder, progress, splits)

    def setting_errors(self) -> Iterable[Problem]:
        """Check the metrics, too: a package may be missing, and two may give a score of the same name."""
        yield from super().setting_errors()
        seen: set[str] = set()
        for number, metric in enumerate(self.metrics):
            try:
                found = metric(_TRIAL, _TRIAL).keys()
            except UserError as error:
                yield f"metrics.{number}", str(error)
                continue
            if twice := found & seen:
                yield f"metrics.{number}", _twice(twice)
            seen |= found

    def data_warnings(self, split: Split) -> Sequence[str]:
        """Return the warnings of the metrics about the references."""
        references = self.references(split)
        warnings = (warning for metric in self.metrics for warning in metric.warnings(references))
        return [f"{split.name}: {warning}" for warning in dict.fromkeys(warnings)]

    def inputs(self, split: Split) -> list[str]:
        """Return the inputs of a split."""
        return [row[0] for row in split.rows]

    def references(self, split: Split) -> list[str]:
        """Return the references of a split."""
        return [row[1] for row in split.rows]

    def evaluate(self, model: TextModel, split: Split) -> Evaluation:
        """Answer the inputs of a split, and compare the outputs with the references by every metric."""
        inputs, references = self.inputs(split), self.references(split)
        nbests = [*model.hypotheses(inputs)]
        outputs = [nbest.text for nbest in nbests]
        answers = [
            Answer(input=text, output=output, reference=reference)
            for text, output, reference in zip(inputs, outputs, references, strict=True)
        ]
        scores = self.score(inputs, outputs, references)
        return Evaluation(scores=scores, answers=answers, warnings=sum_warnings(nbests))

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the metrics' scores; None if they depend on the text, as with one per label."""
        names, others = (list(self.scores(text, text)) for text in (_TRIAL, _OTHER_TRIAL))
        return names if names == others else None

    def score(
        self, inputs: Sequence[str], outputs: Sequence[str], references: Sequence[str]
    ) -> Mapping[str, Score]:
        """How good the outputs are that were given to these inputs, the figure that counts first."""
        return self.scores(outputs, references)

    def scores(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, Score]:
        """What all metrics say.

        Raises:
            UserError: two of them have a figure of one name
        """
        scores: dict[str, Score] = {}
        for metric in self.metrics:
            found = metric(outputs, references)
            if twice := found.keys() & scores.keys():
                raise UserError(f"task.metrics: {_twice(twice)}")
            scores |= found
        return scores


def _twice(names: Iterable[str]) -> str:
    return f"{', '.join(sorted(names))} is computed twice; name it once"


def normalize(normalizers: Sequence[Normalizer], text: str) -> str:
    """The text, passed through normalizers in their order."""
    for normalizer in normalizers:
        text = normalizer(text)
    return text


def denormalize(normalizers: Sequence[Normalizer], text: str) -> str:
    """An output, passed back through normalizers in reverse."""
    for normalizer in reversed(normalizers):
        text = normalizer.restore(text)
    return text
