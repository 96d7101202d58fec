"""The attention of a model for a few answers, as a page shows it."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import seqx
from seqx_runs.sentences import shortened

MAX_VIEWS = 4
"""The maximum number of answers whose attention is shown."""

MAX_TOKENS = 40
"""The maximum number of tokens of the source and of the output."""

MAX_SECONDS = 20.0
"""No further attention is computed after this time."""


@dataclass(frozen=True, kw_only=True)
class AttentionView:
    """The attention from the tokens of an output to those of its source."""

    input: str
    source: Sequence[str]
    target: Sequence[str]
    layers: Sequence[str]
    weights: Sequence[Sequence[Sequence[int]]]  # in percent, by layer, target token and source token

    @property
    def json(self) -> str:
        """The weights as JSON."""
        return json.dumps(self.weights, separators=(",", ":"))


def attention_views(predictor: seqx.Predictor, inputs: Sequence[object]) -> list[AttentionView]:
    """Return the attention for the first inputs that are short enough; empty if the model has none."""
    end = time.monotonic() + MAX_SECONDS
    views: list[AttentionView] = []
    for text in inputs:
        if len(views) == MAX_VIEWS or time.monotonic() > end:
            break
        if not isinstance(text, str) or len(predictor.task.read(text)["source"]) > MAX_TOKENS:
            continue
        (nbest,) = predictor.hypotheses([text])
        maps = predictor.attention(text, nbest[0].hypothesis.ids) if nbest else None
        if maps is None or len(maps.target) > MAX_TOKENS:
            continue
        layers = dict(layers_of(maps))
        if not layers:
            return []
        views.append(
            AttentionView(
                input=shortened(text),
                source=maps.source,
                target=maps.target,
                layers=list(layers),
                weights=list(layers.values()),
            )
        )
    return views


def layers_of(maps: seqx.AttentionMaps) -> Iterator[tuple[str, list[list[int]]]]:
    """Yield the mean over heads of each layer that attends to the source; the mean of all layers is first."""
    found = {
        name: layer.weights[0].mean(0)
        for name, layer in maps.maps.items()
        if (layer.queries, layer.keys) == ("target", "source")
    }
    if len(found) > 1:
        found = {"all layers": sum(found.values()) / len(found), **found}  # type: ignore[dict-item]
    for number, (name, weights) in enumerate(found.items()):
        title = name if name == "all layers" else f"layer {number + (len(found) == 1)}"
        yield title, (100 * weights).round().int().tolist()
