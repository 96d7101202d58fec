"""The outputs that a finished run wrote, compared with the references of its corpus."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

import seqx

RESAMPLES = 1000
"""The number of bootstrap resamples for confidence intervals."""


@dataclass(frozen=True, kw_only=True)
class RunAnswers:
    """The answers of a finished run on a split."""

    predictor: seqx.Predictor  # of the model of the run, on the CPU
    split: seqx.Split
    outputs: Sequence[str]
    evaluation: seqx.Evaluation  # the scores of the outputs, with intervals, and the answers

    @property
    def task(self) -> seqx.Task:
        """The task of the run."""
        return self.predictor.task

    @property
    def has_input_per_row(self) -> bool:
        """True if each row of the split has one answer, so that parts of the split can be scored."""
        return len(self.split.rows) == len(self.outputs) == len(self.evaluation.answers)

    def scores_of(self, indices: Sequence[int]) -> Mapping[str, seqx.Score]:
        """Return the scores of some of the answers together."""
        part = seqx.Split(
            self.split.name,
            [self.split.rows[i] for i in indices],
            [[texts[i] for i in indices] for texts in self.split.more_references],
        )
        return self.task.evaluate(_RecordedOutputs([self.outputs[i] for i in indices]), part).scores


class _RecordedOutputs:
    """A model whose answers were recorded."""

    max_length = 1 << 30

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = outputs

    def __call__(self, inputs: Iterable[object]) -> list[str]:
        """Return the outputs."""
        return [*self._outputs]

    def hypotheses(self, inputs: Iterable[object]) -> Iterator[seqx.NBest]:
        """Yield an n-best list with each output; it is empty if the output is empty."""
        for text in self._outputs:
            hypothesis = seqx.Hypothesis(ids=[], score=0.0, logprob=0.0)
            yield seqx.NBest([seqx.Candidate(text, hypothesis)] if text else [])

    def logprobs(self, examples: Sequence[seqx.Example]) -> list[float | None]:
        """Return None for each example: the outputs have no probabilities."""
        return [None for _ in examples]


def read_answers(record: seqx.Record, split: str, *, trust: bool) -> RunAnswers:
    """Read the outputs of a run, and compare them with the references.

    Args:
        record: the run
        split: "dev" or "test"
        trust: run the local plugins of the run

    Raises:
        UserError: the run wrote no outputs, the model or the corpus cannot be read, or the numbers of
            inputs and outputs differ
    """
    file = record.folder / "outputs" / f"{split}.txt"
    if record.scores is None:
        raise seqx.UserError(f"{record.folder}: the run is not finished, so there are no outputs yet")
    if not file.is_file():
        raise seqx.UserError(f"{file}: the run wrote no outputs for this split")
    predictor = seqx.load(
        record.folder,
        device="cpu",
        overrides=_with_intervals(record),
        trust_local_plugins=trust,
        lenient=True,
    )
    predictor.task.fetch(seqx.default_cache() / "corpora", _print_step, splits=(split,))
    rows, outputs = predictor.task.read_split(split), [*seqx.read_lines(file)]
    inputs = predictor.task.inputs(rows)
    if len(inputs) != len(outputs):
        raise seqx.UserError(
            f"{file}: has {len(outputs):,} lines, but {split} has {len(inputs):,} inputs; the corpus or the "
            "file has changed since the run"
        )
    evaluation = predictor.task.evaluate(_RecordedOutputs(outputs), rows)
    return RunAnswers(predictor=predictor, split=rows, outputs=outputs, evaluation=evaluation)


def _with_intervals(record: seqx.Record) -> list[str]:
    """Return overrides that set the number of resamples of each metric that has this setting."""
    metrics = record.recipe["task"].get("metrics")
    return [
        f"task.metrics.{number}.bootstrap={RESAMPLES}"
        for number, metric in enumerate(metrics if isinstance(metrics, list) else ())
        if isinstance(metric, dict) and metric.get("bootstrap") == 0
    ]


def default_split(folder: Path) -> str:
    """Return the split whose outputs are shown: "test", or "dev" if there are none of "test"."""
    return "test" if (folder / "outputs" / "test.txt").is_file() else "dev"


def _print_step(step: str, fraction: float | None) -> None:
    if fraction is None:
        click.echo(step, err=True)
