"""Explanations of an answer: the steps of the search, and the attention of the model."""

from collections.abc import Sequence
from typing import Any

import seqx
from seqx_serve import schemas
from seqx_serve.models import ServedModel
from seqx_serve.responses import result_of, warnings_of

_MAX_WEIGHTS = 500_000
_MAX_HYPOTHESES = 20_000


def explanation_of(
    model: ServedModel, text: str, nbest: seqx.NBest, maps: Any, reasons: Sequence[str] = ()
) -> schemas.ExplainResponse:
    """Return the answers to a text, with the steps of the search and the attention.

    If the search or the attention has too many numbers for a response, it is left out with a warning.

    Args:
        model: the model
        text: the input
        nbest: the answers, with traces
        maps: the result of `seqx.Predictor.attention`
        reasons: the reasons why there is no answer
    """
    warnings = [*reasons, *warnings_of([nbest])]
    hypotheses = sum(len(step) for searches in nbest.traces for steps in searches for step in steps)
    weights = 0 if maps is None else sum(layer.weights.numel() for layer in maps.maps.values())
    for count, limit, noun in (
        (hypotheses, _MAX_HYPOTHESES, "hypotheses of the search"),
        (weights, _MAX_WEIGHTS, "attention weights"),
    ):
        if count > limit:
            warnings.append(f"{count:,} {noun} are not shown, more than {limit:,}; shorten the text")
    return schemas.ExplainResponse(
        result=result_of(model, text, nbest),
        searches=_searches(model, nbest) if hypotheses <= _MAX_HYPOTHESES else [],
        attention=_attention(maps) if 0 < weights <= _MAX_WEIGHTS else [],
        warnings=warnings or None,
    )


def _searches(model: ServedModel, nbest: seqx.NBest) -> list[schemas.SearchSteps]:
    best = [*nbest[0].hypothesis.ids, seqx.EOS] if len(nbest.traces) == 1 and nbest else []
    return [
        schemas.SearchSteps(part=part, search=search, steps=_steps(model, steps, best))
        for part, searches in enumerate(nbest.traces, 1)
        for search, steps in enumerate(searches, 1)
        if steps
    ]


def _steps(
    model: ServedModel, steps: Sequence[Sequence[seqx.TracedHypothesis]], best: Sequence[int]
) -> list[list[schemas.StepHypothesis]]:
    """Return the steps of a search.

    Args:
        model: the model
        steps: the trace of the search
        best: the ids of the best answer with EOS; empty if there is no answer, or the input has several parts
    """
    symbols: dict[int, str] = {}
    found = []
    parents: dict[tuple[int, ...], int] = {}  # the hypotheses of the previous step that are extended
    for step in steps:
        rows = []
        for ids, score, logprob, outcome in step:
            token = ids[-1]
            if token not in symbols:
                (symbols[token],) = model.predictor.symbols("target", [token])
            rows.append(
                schemas.StepHypothesis(
                    parent=parents.get(tuple(ids[:-1])),
                    token=symbols[token],
                    score=score,
                    logprob=logprob,
                    outcome=outcome,
                    best=ids == best[: len(ids)],
                )
            )
        parents = {tuple(each.ids): i for i, each in enumerate(step) if each.outcome == "kept"}
        found.append(rows)
    return found


def _attention(attention: Any) -> list[schemas.AttentionMap]:
    """Return attention maps with the symbols of their rows and columns."""
    return [
        schemas.AttentionMap(
            name=name,
            queries=layer.queries,
            keys=layer.keys,
            query_symbols=list(attention.query_symbols[layer.queries]),
            key_symbols=list(attention.key_symbols[layer.keys]),
            weights=[[[round(w, 4) for w in row] for row in head] for head in layer.weights[0].tolist()],
        )
        for name, layer in attention.maps.items()
    ]
