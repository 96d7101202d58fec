from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import seqx


class Remembered(seqx.Search):
    """A search that keeps the hypotheses of each source, and returns them if the source occurs again."""

    def __init__(self, original: seqx.Search) -> None:
        self._original = original
        self._known: dict[tuple[int, ...], Sequence[seqx.Hypothesis]] = {}

    def max_lengths(self, lengths: Tensor) -> Tensor:
        return self._original.max_lengths(lengths)

    def __call__(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        max_lengths: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
        trace: seqx.SearchTrace | None = None,
    ) -> Sequence[Sequence[seqx.Hypothesis]]:
        if grammar is not None or trace is not None:
            return self._original(model, source, max_lengths, grammar, memory, trace)
        keys = [tuple(row) for row in source.values.tolist()]
        if any(key not in self._known for key in keys):
            self._known |= dict(zip(keys, self._original(model, source, max_lengths), strict=True))
        return [self._known[key] for key in keys]


class Newcomer(seqx.Engine):
    """An engine that searches only once for inputs that are repeated."""

    def identity(self) -> Mapping[str, object]:
        return {"version": 1}

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        torch.save(model.model.state_dict(), folder / "weights.pt")

    def search(self, model: seqx.TrainedModel, folder: Path) -> seqx.Search:
        original: Any = model.search
        return Remembered(original)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Engine, newcomer=Newcomer)
