"""Ensembles of models.

Letters in shapes: B sentences, T target tokens, V symbols of a vocabulary.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

import seqx


class AveragingEnsemble(seqx.Ensemble):
    """An ensemble that averages the probabilities of its models (Sutskever et al. 2014, table 1).

    The outputs are the logarithms of the averaged probabilities. The models may have different widths.

    Raises:
        ValueError: there are no models, or their vocabularies have different sizes
    """

    def forward(self, batch: seqx.Batch) -> Tensor:
        """Return the log-probabilities [B, T, V] of each target token."""
        return average([model.head(model(batch)).float().log_softmax(-1) for model in self.models])


class GeneratorEnsemble(AveragingEnsemble, seqx.Generator):
    """An ensemble of generators that averages the probabilities of each next token.

    Raises:
        ValueError: there are no models, or their vocabularies have different sizes
    """

    members = seqx.Generator
    models: seqx.Layers[seqx.Generator]  # type: ignore[assignment]

    def encode(self, source: seqx.Column) -> seqx.State:
        """Encode the source with each model; return the memory of each."""
        return tuple(model.encode(source) for model in self.models)

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        """Return the state of each model before the first target token."""
        return tuple(model.start(m, capacity) for model, m in zip(self.models, memory, strict=True))

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        """Advance by target ids [B, T]; return log-probabilities [B, T, V] and the states after them."""
        logprobs, states = [], []
        for model, before in zip(self.models, state, strict=True):
            outputs, after = model.advance(ids, before, keep)
            logprobs.append(model.head(outputs).float().log_softmax(-1))
            states.append(after)
        return average(logprobs), tuple(states)

    def head(self, outputs: Tensor) -> Tensor:
        """Return the outputs of `advance` unchanged, because they are log-probabilities already."""
        return outputs

    def slots(self, memory: seqx.State, count: int, hypotheses: int, capacity: int | None) -> seqx.Slots:
        """Return the slots of all models."""
        pairs = zip(self.models, memory, strict=True)
        return EnsembleSlots([model.slots(m, count, hypotheses, capacity) for model, m in pairs])

    @property
    def has_token_labels(self) -> bool:
        """True if any of the models labels source tokens."""
        return any(model.has_token_labels for model in self.models)

    def labels(self, memory: seqx.State) -> Mapping[str, Tensor]:
        """Return, for each column that all models label, the logarithms of the averaged probabilities."""
        all_labels = [model.labels(m) for model, m in zip(self.models, memory, strict=True)]
        return {
            name: average([labels[name] for labels in all_labels])
            for name in all_labels[0]
            if all(name in labels for labels in all_labels)
        }


class EnsembleSlots(seqx.Slots):
    """Slots of several models, whose probabilities are averaged.

    Args:
        models: the slots of each model
    """

    def __init__(self, models: Sequence[seqx.Slots]) -> None:
        self.hypotheses = models[0].hypotheses
        self.occupied = models[0].occupied
        self._models = models

    def step(self, ids: Tensor) -> Tensor:
        """Advance each hypothesis by one token of `ids` [N]; return the next log-probabilities [N, V]."""
        return average([slots.step(ids).float().log_softmax(-1) for slots in self._models])

    def reorder(self, parents: Tensor) -> None:
        """Replace each hypothesis by a hypothesis of the same slot: [A, K]."""
        for slots in self._models:
            slots.reorder(parents)

    def release(self, slots: Collection[int]) -> None:
        """Remove the sentences in these slots from all models."""
        for model in self._models:
            model.release(slots)
        self.occupied = self._models[0].occupied

    def fill(self, slots: Sequence[int], memory: seqx.State) -> None:
        """Put further sentences into released slots of all models."""
        for model, encoded in zip(self._models, memory, strict=True):
            model.fill(slots, encoded)
        self.occupied = self._models[0].occupied


def average(logprobs: Sequence[Tensor]) -> Tensor:
    """Return the logarithms of the averaged probabilities of several models."""
    return torch.stack([*logprobs]).logsumexp(0) - math.log(len(logprobs))
