"""Parts of speech, learnt together with the trees.

Letters in shapes: B sentences, S source tokens, D = d_model, L labels.
"""

from collections.abc import Mapping
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx


class Tagging(seqx.Model):
    """A model that labels each token of the source besides, by one layer on its encoder's states.

    Args:
        inner: the model
        column: the labels; the task says how many there are
        dropout: share of the states dropped before that layer
    """

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        inner: seqx.Make[seqx.Model],
        column: str = "tags",
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
    ) -> None:
        super().__init__(vocab_sizes)
        if column not in vocab_sizes:
            raise ValueError(
                f"the task has no column {column!r} to label tokens with; it has {', '.join(vocab_sizes)}"
            )
        self.inner = inner(vocab_sizes)
        self.limit = self.inner.limit
        self.column = column
        self.dropout = dropout
        if self.inner.d_model is None:
            raise ValueError("inner: this model does not say how wide its encoder's states are")
        self.tag = nn.Linear(self.inner.d_model, vocab_sizes[column])

    def encode(self, source: seqx.Tokens) -> seqx.State:
        """Read the source [B, S]."""
        return self.inner.encode(source)

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        """The state before the first target token."""
        return self.inner.start(memory, capacity)

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        """After target ids [B, T]: outputs that `head` reads, and the state."""
        return self.inner.advance(ids, state, keep)

    def head(self, outputs: Tensor) -> Tensor:
        """Logits [..., V] of each next token."""
        return self.inner.head(outputs)

    def labels(self, memory: seqx.State) -> Mapping[str, Tensor]:
        """Log-probabilities [B, S, L] of labels of each source token."""
        states = F.dropout(memory.states, self.dropout, self.training)
        return {self.column: self.tag(states).float().log_softmax(-1)}


class Tagged(seqx.Objective):
    """Another objective and the cross-entropy of the labels of source tokens, which `Tagging` gives.

    Tokens whose label is PAD have none. The source is read once for both; an objective that runs the model
    again, with other dropout, reads it again.

    Args:
        inner: what is learnt besides
        column: the labels
        weight: what the labels' cross-entropy is multiplied by; "tags" is the product, in nats
    """

    def __init__(
        self, *, inner: seqx.Objective, column: str = "tags", weight: Annotated[float, Gt(0)] = 1.0
    ) -> None:
        super().__init__()
        self.inner = inner
        self.column = column
        self.weight = weight
        self.trained_on = (*inner.trained_on, "tags")

    def counts(self, batch: seqx.Batch) -> Mapping[str, int]:
        """Those of the other objective, and the labelled tokens."""
        labelled = int((batch.columns[self.column].ids != seqx.PAD).sum())
        return {**self.inner.counts(batch), "tags": labelled}

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        """The sums over the batch."""
        memory = model.encode(batch.columns["source"])
        right = batch.columns[self.column].ids
        said = model.labels(memory).get(self.column)
        if said is None:
            raise seqx.UserError(
                f"the model has no labels {self.column!r} for this objective to teach; wrap it: "
                "{type: tagging, inner: ...}"
            )
        tags = F.nll_loss(said.flatten(0, 1), right.flatten(), ignore_index=seqx.PAD, reduction="sum")
        return {**self.inner(_Read(model, memory), batch), "tags": tags * self.weight}


class _Read(seqx.Model):
    """A model that has read its source already, once."""

    def __init__(self, model: seqx.Model, memory: seqx.State) -> None:
        super().__init__(model.vocab_sizes)
        self.model = model
        self.memory = memory

    def encode(self, source: seqx.Tokens) -> seqx.State:
        memory, self.memory = self.memory, None
        return self.model.encode(source) if memory is None else memory

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        return self.model.start(memory, capacity)

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        return self.model.advance(ids, state, keep)

    def head(self, outputs: Tensor) -> Tensor:
        return self.model.head(outputs)
