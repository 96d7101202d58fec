"""Labels of source tokens beside another task, such as the part-of-speech tags of a parser.

Letters in shapes: B sentences, S source tokens, D = d_model, L labels.
"""

from collections.abc import Mapping
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx
from seqx_tagging.label_head import LabelHead


class TaggingModel(seqx.Generator):
    """A model with a classifier that labels each source token from its encoder state.

    Args:
        inner: the model
        column: the column of the labels; the task defines their number
        dropout: dropout probability of the encoder states before the classifier
    """

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        inner: seqx.Make[seqx.Generator],
        column: str = "tags",
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
    ) -> None:
        super().__init__(vocab_sizes)
        if column not in vocab_sizes:
            raise ValueError(
                f"column: the task has no label column {column!r}; its columns are {', '.join(vocab_sizes)}"
            )
        self.inner = inner(vocab_sizes)
        self.limit = self.inner.limit
        self.single_sequence = self.inner.single_sequence
        self.column = column
        if self.inner.d_model is None:
            raise ValueError(
                "inner: this model does not define d_model, the width of its encoder states; use another"
            )
        self.tag = LabelHead(self.inner.d_model, vocab_sizes[column], dropout)

    @property
    def symbol_embeddings(self) -> Mapping[str, seqx.ScaledEmbedding]:
        """The embeddings of the inner model."""
        return self.inner.symbol_embeddings

    def positions_used(self, lengths: Mapping[str, seqx.Integers]) -> seqx.Integers:
        """Return the number of positions that each example uses in the inner model, which reads no labels."""
        return self.inner.positions_used({name: lengths[name] for name in lengths if name != self.column})

    def encode(self, source: seqx.Column) -> seqx.State:
        """Encode the source [B, S]."""
        return self.inner.encode(source)

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        """Return the state before the first target token."""
        return self.inner.start(memory, capacity)

    @property
    def reads_packed_rows(self) -> bool:
        """True if the inner model can read packed rows; each token is labelled by its own state."""
        return self.inner.reads_packed_rows

    def read_target(self, memory: seqx.State, target: seqx.Column) -> Tensor:
        """Return the outputs [B, T, D] of the inner model."""
        return self.inner.read_target(memory, target)

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        """Decode target ids [B, T]; return outputs for `head`, and the new state."""
        return self.inner.advance(ids, state, keep)

    def slots(self, memory: seqx.State, count: int, hypotheses: int, capacity: int | None) -> seqx.Slots:
        """Return the slots of the inner model."""
        return self.inner.slots(memory, count, hypotheses, capacity)

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits [..., V] of each next token."""
        return self.inner.head(outputs)

    def labels(self, memory: seqx.State) -> Mapping[str, Tensor]:
        """Return the log-probabilities [B, S, L] of each source token's labels."""
        return {self.column: self.tag(memory.states).float().log_softmax(-1)}


class TaggingObjective(seqx.Objective):
    """The loss of another objective plus the cross-entropy of the source tokens' labels, for `TaggingModel`.

    Tokens with the label PAD are ignored. Both losses share one encoder pass, unless the other objective runs
    the model a second time with other dropout (R-Drop).

    Args:
        inner: the other objective
        column: the column of the labels
        weight: factor of the labels' cross-entropy; the loss "tags" includes it, in nats
    """

    def __init__(
        self, *, inner: seqx.Objective, column: str = "tags", weight: Annotated[float, Gt(0)] = 1.0
    ) -> None:
        super().__init__()
        self.inner = inner
        self.column = column
        self.weight = weight
        self.trained_on = (*inner.trained_on, "tags")
        self.reads_packed_rows = inner.reads_packed_rows

    def counts(self, batch: seqx.Batch) -> Mapping[str, int]:
        """Return the counts of the other objective, and the number of labelled tokens."""
        labelled = int((batch.columns[self.column].values != seqx.PAD).sum())
        return {**self.inner.counts(batch), "tags": labelled}

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        """Return the losses summed over the batch."""
        predicted: Mapping[str, Tensor] = {}
        memory = None
        if isinstance(model, seqx.Generator):
            memory = model.encode(batch.columns["source"])
            predicted = model.labels(memory)
        if not isinstance(model, seqx.Generator) or self.column not in predicted:
            raise seqx.UserError(
                f"the model does not predict labels {self.column!r} for the source tokens; wrap it: "
                "{type: tagging, inner: ...}"
            )
        gold = batch.columns[self.column].values
        tags = F.nll_loss(
            predicted[self.column].flatten(0, 1), gold.flatten(), ignore_index=seqx.PAD, reduction="sum"
        )
        return {**self.inner(_PreEncodedModel(model, memory), batch), "tags": tags * self.weight}


class _PreEncodedModel(seqx.Generator):
    """A model whose first call of `encode` returns a memory that was computed before."""

    def __init__(self, model: seqx.Generator, memory: seqx.State) -> None:
        super().__init__(model.vocab_sizes)
        self.model = model
        self.memory = memory

    def encode(self, source: seqx.Column) -> seqx.State:
        memory, self.memory = self.memory, None
        return self.model.encode(source) if memory is None else memory

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        return self.model.start(memory, capacity)

    def read_target(self, memory: seqx.State, target: seqx.Column) -> Tensor:
        return self.model.read_target(memory, target)

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        return self.model.advance(ids, state, keep)

    def head(self, outputs: Tensor) -> Tensor:
        return self.model.head(outputs)
