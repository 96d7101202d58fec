from collections.abc import Mapping

import torch
from torch import Tensor

import seqx


class Newcomer(seqx.Ensemble, seqx.Generator):
    """The geometric mean of the models' probabilities, normalised."""

    members = seqx.Generator

    def encode(self, source: seqx.Column) -> seqx.State:
        return tuple(model.encode(source) for model in self.generators())

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        parts = zip(self.generators(), memory, strict=True)
        return tuple(model.start(part, capacity) for model, part in parts)

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        models = self.generators()
        pairs = [model.advance(ids, part, keep) for model, part in zip(models, state, strict=True)]
        log_probs = [
            model.head(outputs).float().log_softmax(-1)
            for model, (outputs, _) in zip(models, pairs, strict=True)
        ]
        return torch.stack(log_probs).mean(0), tuple(new_state for _, new_state in pairs)

    def head(self, outputs: Tensor) -> Tensor:
        return outputs  # `advance` has applied the heads of the models

    def generators(self) -> list[seqx.Generator]:
        return [model for model in self.models if isinstance(model, seqx.Generator)]

    def labels(self, memory: seqx.State) -> Mapping[str, Tensor]:
        by_model = [model.labels(part) for model, part in zip(self.generators(), memory, strict=True)]
        return {
            name: torch.stack([labels[name] for labels in by_model]).mean(0).log_softmax(-1)
            for name in by_model[0]
            if all(name in labels for labels in by_model)
        }


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Ensemble, newcomer=Newcomer)
