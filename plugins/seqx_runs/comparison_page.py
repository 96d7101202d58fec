"""The HTML page of a comparison of runs or of a sweep: table, notes, curves, differences and sentences."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

import seqx
from seqx_runs.comparison_table import Column
from seqx_runs.curves import LineChart, Point, Series
from seqx_runs.pages import render

Points = Mapping[float, float]
"""The values of a quantity by update."""


def write_page(
    file: Path,
    *,
    title: str,
    columns: Sequence[Column],
    notes: Sequence[str],
    curves: Mapping[str, Sequence[Path]],
    differences: Mapping[str, Sequence[str]] = MappingProxyType({}),
    sentences: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the page.

    Args:
        file: the file
        title: the heading
        columns: the columns of the table
        notes: the notes below the table
        curves: the run folders whose mean is one line of the charts, by the name of the line
        differences: lines about the differences from the first run, by heading
        sentences: sentences whose scores differ; `named_outputs` has pairs of a run and its output

    Raises:
        UserError: the file cannot be written
    """
    shown = [column for column in columns if column.texts is not None]
    text = render(
        "comparison.html",
        version=seqx.__version__,
        title=title,
        header=[column.name for column in shown],
        rows=[*zip(*(column.texts or () for column in shown), strict=True)],
        notes=notes,
        charts=[chart for chart in _charts(curves) if not chart.is_empty],
        differences=differences,
        sentences=sentences,
    )
    seqx.write_atomically(file, text)


def _charts(curves: Mapping[str, Sequence[Path]]) -> Iterator[LineChart]:
    """Yield a chart of the training loss, of each score and of the perplexity of the development set."""
    metrics = {name: [seqx.MetricsFile(path).read() for path in paths] for name, paths in curves.items()}

    def chart(title: str, points: Callable[[seqx.RecordedMetrics], Points]) -> LineChart:
        lines = [Series(name=name, points=_mean(map(points, each))) for name, each in metrics.items()]
        return LineChart(title=title, x_label="update", y_label=title, series=lines)

    yield chart("training loss per token", _losses)
    validations = (each for reads in metrics.values() for read in reads for each in read.validations)
    names = dict.fromkeys(name for each in validations for name in seqx.main_scores(each.scores))
    for name in [*names, "perplexity"]:
        yield chart(f"dev {name}", partial(_dev_scores, name=name))


def _losses(metrics: seqx.RecordedMetrics) -> Points:
    """Return the losses without label smoothing if they are known, otherwise the losses."""
    losses = {line["step"]: line.get("nll") or line.get("loss") for line in metrics.updates}
    return {step: loss for step, loss in losses.items() if loss is not None}


def _dev_scores(metrics: seqx.RecordedMetrics, name: str) -> Points:
    """Return a score of each validation."""
    points: dict[float, float] = {}
    for each in metrics.validations:
        value = each.perplexity if name == "perplexity" else None
        if name in each.scores:
            value = each.scores[name].value
        if value is not None:
            points[each.step] = value
    return points


def _mean(lines: Iterable[Points]) -> list[Point]:
    """Return the means of several lines at the updates that all of them have; empty lines are left out."""
    every = [line for line in lines if line]
    steps = set.intersection(*(set(line) for line in every)) if every else set[float]()
    return [(step, fmean(line[step] for line in every)) for step in sorted(steps)]
