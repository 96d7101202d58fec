"""Runs, models and attention as HTML in a notebook: a part of a page, without scripts."""

from collections.abc import Iterator
from typing import Any

import seqx
from seqx_runs import run_facts
from seqx_runs.attention_view import MAX_TOKENS, layers_of
from seqx_runs.pages import render
from seqx_runs.report import REPORT
from seqx_runs.run_curves import learning_charts

_CHARTS = 2  # loss and scores
_PARTS = 12  # parts of a model that are shown


def html_of(value: object) -> str | None:
    """Return HTML for a run, a model or attention weights; None for other values.

    Raises:
        UserError: a file of the run cannot be read
    """
    match value:
        case seqx.Record():
            return render("notebook_run.html", **_run(value))
        case seqx.Predictor():
            return render("notebook_model.html", **_model(value))
        case seqx.AttentionMaps():
            return render("notebook_attention.html", **_attention(value))
    return None


def _run(record: seqx.Record) -> dict[str, Any]:
    metrics = record.metrics
    by_split = record.scores or {split: each.scores for split, each in metrics.last_evaluations.items()}
    return {
        **run_facts.summary_of(record, ended=False),
        "scores": [
            (split, name, f"{score.value:.2f}", score.signature)
            for split, scores in by_split.items()
            for name, score in scores.items()
        ],
        "charts": learning_charts(metrics)[:_CHARTS],
        "report": str(record.folder / REPORT) if (record.folder / REPORT).is_file() else None,
    }


def _model(predictor: seqx.Predictor) -> dict[str, Any]:
    model = predictor.model
    parts = dict(_parts(model))
    shown = dict([*parts.items()][:_PARTS])
    if len(parts) > len(shown):
        shown[f"{len(parts) - len(shown)} further parts"] = sum([*parts.values()][_PARTS:])
    return {
        "name": type(model).__name__,
        "tiles": [
            ("parameters", f"{sum(parts.values()):,}"),
            ("task", type(predictor.task).__name__),
            ("search", type(predictor.search).__name__ if predictor.search else "none"),
            ("device", f"{predictor.device}, {predictor.precision}"),
            *(
                (f"symbols of {name}", f"{size:,}")
                for name, size in getattr(predictor.task, "vocab_sizes", {}).items()
            ),
        ],
        "parts": shown,
    }


def _parts(model: Any) -> Iterator[tuple[str, int]]:
    """Yield the parameters of each part of a model; a matrix of several parts is counted once."""
    seen: set[int] = set()
    for name, part in [*model.named_children(), ("other", model)]:
        own = {id(parameter): parameter.numel() for parameter in part.parameters()}
        count = sum(size for key, size in own.items() if key not in seen)
        seen |= own.keys()
        if count:
            yield name, count


def _attention(maps: seqx.AttentionMaps) -> dict[str, Any]:
    return {
        "source": maps.source[:MAX_TOKENS],
        "target": maps.target[:MAX_TOKENS],
        "layers": [
            (name, [row[:MAX_TOKENS] for row in weights[:MAX_TOKENS]]) for name, weights in layers_of(maps)
        ],
        "is_shortened": max(len(maps.source), len(maps.target)) > MAX_TOKENS,
    }
