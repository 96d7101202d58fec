"""Several models that answer as one.

Letters in shapes: B sentences, T target tokens, V symbols of a vocabulary.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import seqx


class AveragingEnsemble(seqx.Ensemble):
    """Next tokens with the mean of several models' probabilities (Sutskever et al. 2014, section 3.2).

    Its outputs are the logarithms of these means, so that models of any widths can be combined.

    Raises:
        ValueError: for no models, or models whose vocabularies differ in size
    """

    def __init__(self, models: Sequence[seqx.Model]) -> None:
        super().__init__(models)
        self.limit = seqx.smallest_limit(*(model.limit for model in models))
        self.single_sequence = any(model.single_sequence for model in models)

    def encode(self, source: seqx.Tokens) -> seqx.State:
        """Read the source: the memory of each model."""
        return tuple(model.encode(source) for model in self.models)

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        """The state of each model before the first target token."""
        return tuple(model.start(m, capacity) for model, m in zip(self.models, memory, strict=True))

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        """After target ids [B, T]: log-probabilities [B, T, V] of each next token, and the states."""
        logs, states = [], []
        for model, before in zip(self.models, state, strict=True):
            outputs, after = model.advance(ids, before, keep)
            logs.append(model.head(outputs).float().log_softmax(-1))
            states.append(after)
        return torch.stack(logs).logsumexp(0) - math.log(len(logs)), tuple(states)

    @property
    def has_token_labels(self) -> bool:
        """Whether any of the models labels tokens."""
        return any(model.has_token_labels for model in self.models)

    def labels(self, memory: seqx.State) -> Mapping[str, Tensor]:
        """The logarithms of the means of the models' probabilities, of what all of them label."""
        each = [model.labels(m) for model, m in zip(self.models, memory, strict=True)]
        return {
            name: torch.stack([labels[name] for labels in each]).logsumexp(0) - math.log(len(each))
            for name in each[0]
            if all(name in labels for labels in each)
        }

    def head(self, outputs: Tensor) -> Tensor:
        """Logits are what `advance` gives."""
        return outputs
