"""Base classes of tasks that have a corpus, and of tasks whose outputs are compared with references."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqx.errors import UserError
from seqx.interfaces.codec import Codec
from seqx.interfaces.rows import value_text
from seqx.interfaces.scores import Answer, Evaluation, Score, Significance
from seqx.interfaces.task import Split, Task, TextModel, sum_warnings
from seqx.interfaces.text import SPLITS, TRIAL, Corpus, Metric, Problem, ProgressReporter, RequiredData
from seqx.tasks.columns import missing_column


@dataclass(kw_only=True, eq=False)
class CorpusTask(Task):
    """A task whose rows come from a corpus.

    Args:
        corpus: the source of the rows
    """

    corpus: Corpus

    @property
    def unique(self) -> bool:
        """True if repeated training rows are removed, as the corpus specifies."""
        return self.corpus.unique

    @property
    def available(self) -> Sequence[str]:
        """The splits of the corpus."""
        return self.corpus.available

    def num_rows(self, split: str) -> int | None:
        """Return the number of rows of the corpus, if it is known."""
        return self.corpus.num_rows(split)

    def row_location(self, split: str, row: int) -> str:
        """Return the location in the corpus. A task that divides or joins its rows overrides this method."""
        return self.corpus.row_location(split, row)

    def setting_errors(self) -> Iterable[Problem]:
        """Report a corpus without training text, or without a column that a setting names."""
        if "train" not in self.available:
            yield "corpus", "the corpus has no training text; set its 'train'"
        width = self.corpus.width
        for setting, column in self.columns().items():
            if width is not None and column >= width:
                yield setting, missing_column("it", column, width)

    def columns(self) -> Mapping[str, int]:
        """Return the largest column of the corpus that each setting refers to, by the name of the setting."""
        return {}

    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Fetch the corpus.

        Raises:
            UserError: one of `splits` has no rows
        """
        self.corpus.fetch(folder, progress, splits)
        for split in splits:
            if next(self.rows(split), None) is None:
                raise UserError(f"the corpus has no rows for {split}")

    def required_data(self, folder: Path) -> RequiredData | None:
        """Return the text that the corpus needs."""
        return self.corpus.required_data(folder)

    def identity(self) -> Mapping[str, object]:
        """Return the identities of the corpus, and of the tokenizers and other codecs that have one."""
        codecs = {name: value.identity() for name, value in vars(self).items() if isinstance(value, Codec)}
        return {"corpus": self.corpus.identity(), **{name: value for name, value in codecs.items() if value}}


@dataclass(kw_only=True, eq=False)
class MetricTask(CorpusTask):
    """A task with a corpus, whose metrics compare outputs with references.

    In a subclass, `rows` yields pairs of an input and its reference.

    Args:
        metrics: the metrics; the first score of the first metric is the main score
    """

    metrics: list[Metric]

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("metrics is empty; name at least one, as in metrics: [bleu]")

    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Check that the metrics can be computed, and fetch the corpus."""
        self.scores(TRIAL, TRIAL, sources=TRIAL)
        super().fetch(folder, progress, splits)

    def setting_errors(self) -> Iterable[Problem]:
        """Report errors of the corpus, metrics that cannot be computed, and scores computed twice."""
        yield from super().setting_errors()
        earlier_names: set[str] = set()
        for number, metric in enumerate(self.metrics):
            try:
                names = set(metric.score_names() or metric.for_sources(TRIAL)(TRIAL, TRIAL))
            except UserError as error:
                yield f"metrics.{number}", str(error)
                continue
            if repeated := names & earlier_names:
                yield f"metrics.{number}", _describe_repeated(repeated)
            earlier_names |= names

    def data_warnings(self, split: Split) -> Sequence[str]:
        """Return the warnings of the metrics about the references."""
        references = self.references(split)
        warnings = (warning for metric in self.metrics for warning in metric.warnings(references))
        return [f"{split.name}: {warning}" for warning in dict.fromkeys(warnings)]

    def inputs(self, split: Split) -> list[Any]:
        """Return the inputs of a split."""
        return [row[0] for row in split.rows]

    def references(self, split: Split) -> list[str]:
        """Return the references of a split."""
        return [row[1] for row in split.rows]

    def evaluate(self, model: TextModel, split: Split) -> Evaluation:
        """Answer the inputs of a split, and compare the outputs with the references."""
        inputs, references = self.inputs(split), self.references(split)
        nbests = [*model.hypotheses(inputs)]
        outputs = [nbest.text for nbest in nbests]
        answers = self.answers(split, outputs)
        scores = self.score(inputs, outputs, references, *split.more_references)
        return Evaluation(scores=scores, answers=answers, warnings=sum_warnings(nbests))

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the scores; None if they depend on the text, such as one score per label."""
        names = [metric.score_names() for metric in self.metrics]
        return None if None in names else [name for of_metric in names for name in of_metric or ()]

    def score(
        self, inputs: Sequence[Any], outputs: Sequence[str], *references: Sequence[str]
    ) -> Mapping[str, Score]:
        """Return the scores of the outputs for these inputs, the main score first."""
        return self.scores(outputs, *references, sources=[*map(value_text, inputs)])

    def answer_scores(self, answers: Sequence[Answer]) -> list[Mapping[str, Score]]:
        """Return the scores of each answer alone."""
        return score_answers(self.metrics, answers)

    def rescore(self, answers: Sequence[Answer]) -> Mapping[str, Score]:
        """Return the scores of answers that were read from a file."""
        return self.score(*answer_columns(answers))

    def significance(
        self, baseline: Sequence[Answer], answers: Sequence[Answer], resamples: int
    ) -> Mapping[str, Significance]:
        """Test the differences of all metrics."""
        return answer_significance(self.metrics, baseline, answers, resamples)

    def scores(
        self, outputs: Sequence[str], *references: Sequence[str], sources: Sequence[str] = ()
    ) -> Mapping[str, Score]:
        """Return the scores of all metrics against one or several lists of references.

        Args:
            outputs: the outputs
            references: lists of references, each with one for each output
            sources: the source of each output, which some metrics read; empty if they are unknown

        Raises:
            UserError: two metrics compute scores of the same name
        """
        scores: dict[str, Score] = {}
        for metric in self.metrics:
            bound = metric.for_sources(sources) if sources else metric
            metric_scores = bound.compare(outputs, *references)
            if repeated := metric_scores.keys() & scores.keys():
                raise UserError(f"task.metrics: {_describe_repeated(repeated)}")
            scores |= metric_scores
        return scores


def score_answers(metrics: Sequence[Metric], answers: Sequence[Answer]) -> list[Mapping[str, Score]]:
    """Return the scores of each answer alone, by all metrics."""
    if not answers:
        return []
    sources, outputs, *references = answer_columns(answers)
    scores: list[dict[str, Score]] = [{} for _ in answers]
    for metric in metrics:
        of_metric = metric.for_sources(sources).sentence_scores(outputs, *references)
        for of_answer, of_output in zip(scores, of_metric, strict=True):
            of_answer.update(of_output)
    return [*scores]


def answer_significance(
    metrics: Sequence[Metric], baseline: Sequence[Answer], answers: Sequence[Answer], resamples: int
) -> Mapping[str, Significance]:
    """Test the differences between the scores of two lists of answers to the same inputs, by all metrics."""
    sources, outputs, *references = answer_columns(answers)
    before = [answer.output for answer in baseline]
    return {
        name: result
        for metric in metrics
        for name, result in metric.for_sources(sources)
        .significance(before, outputs, *references, resamples=resamples)
        .items()
    }


def answer_columns(answers: Sequence[Answer]) -> list[Sequence[str]]:
    """Return the inputs, the outputs and one or several lists of references of answers."""
    rows = ((each.input, each.output, each.reference, *each.more_references) for each in answers)
    return [*zip(*rows, strict=True)]


def _describe_repeated(names: Iterable[str]) -> str:
    return f"{', '.join(sorted(names))} is computed twice; name it once"
