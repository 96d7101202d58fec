"""The charts of a run: losses, scores, learning rate, speed and memory over its updates."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import seqx
from seqx_runs.curves import LineChart, Series

MAX_SCORES = 6
"""The maximum number of scores of a chart."""


def learning_charts(metrics: seqx.RecordedMetrics) -> list[LineChart]:
    """Return the charts of losses, scores, perplexity, learning rate and gradient norm."""
    updates = metrics.updates
    losses = [_of_updates(updates, "training loss", _scaled("loss"))]
    if any(line.get("nll") not in (None, line.get("loss")) for line in updates):
        name = "without label smoothing and other terms"
        losses.append(_of_updates(updates, name, _scaled("nll")))
    charts = [
        _chart("Training loss", "nats per target token", losses),
        _chart("Scores on the development set", "score", list(_score_series(metrics))),
        _chart("Perplexity on the development set", "perplexity", [_perplexity(metrics)]),
        _chart(
            "Learning rate",
            "learning rate",
            [_of_updates(updates, "learning rate", _scaled("learning_rate"))],
        ),
        _chart(
            "Gradient norm before clipping", "norm", [_of_updates(updates, "gradient norm", _scaled("norm"))]
        ),
    ]
    return [chart for chart in charts if not chart.is_empty]


def speed_charts(metrics: seqx.RecordedMetrics) -> list[LineChart]:
    """Return the charts of speed, memory and padding."""
    updates = metrics.updates
    series = [
        ("Speed", "target tokens per second", "tokens_per_second", 1.0),
        ("Memory", "GB", "memory", 1e-9),
        ("Padding", "% of computed tokens", "padding", 100.0),
    ]
    charts = [
        _chart(title, label, [_of_updates(updates, title, _scaled(key, factor))], zero=True)
        for title, label, key, factor in series
    ]
    return [chart for chart in charts if not chart.is_empty]


def _chart(title: str, label: str, series: Sequence[Series], *, zero: bool = False) -> LineChart:
    if label.casefold() not in title.casefold() and label != "score":
        title = f"{title} ({label})"
    return LineChart(title=title, x_label="update", y_label=label, series=series, zero=zero)


def _of_updates(updates: Sequence[Any], name: str, value: Callable[[Any], float | None]) -> Series:
    points = [(float(line["step"]), float(number)) for line in updates if (number := value(line)) is not None]
    return Series(name=name, points=points)


def _scaled(key: str, factor: float = 1.0) -> Callable[[Any], float | None]:
    def value(line: Any) -> float | None:
        number = line.get(key)
        if key == "tokens_per_second" and number is None and line["seconds"]:
            number = line["tokens"] / line["seconds"]  # older versions did not record it
        return None if number is None else factor * number

    return value


def _score_series(metrics: seqx.RecordedMetrics) -> Iterator[Series]:
    validations = metrics.validations
    names = list(dict.fromkeys(name for each in validations for name in seqx.main_scores(each.scores)))
    for name in names[:MAX_SCORES]:
        points = [(float(v.step), float(v.scores[name].value)) for v in validations if name in v.scores]
        yield Series(name=name, points=points)


def _perplexity(metrics: seqx.RecordedMetrics) -> Series:
    points = [(float(v.step), v.perplexity) for v in metrics.validations if v.perplexity is not None]
    return Series(name="perplexity", points=points)
