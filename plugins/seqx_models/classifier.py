"""An encoder with a head over labels.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, V labels and special symbols.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_models.pooling import POOLINGS, Pooling


class ClassifierState(NamedTuple):
    """What a classifier remembers between the label and EOS."""

    sentence: Tensor  # [B, D]
    lengths: Tensor  # [B] tokens advanced by so far


class Classifier(seqx.Model):
    """One label for a source: an encoder, its states pooled, a linear head.

    The target is a label and EOS. The label's distribution comes from the source; that of what follows is one
    learned vector's, whatever the source and the label, and soon says EOS with near certainty. So a label's
    log-probability is the classifier's, and every search and objective serves.

    Args:
        d_model: width of embeddings and states
        encoder: what reads the source
        pooling: how a sentence's states become one: their mean, the largest of each dimension, or the first
        dropout: share of the pooled state dropped in training
        scale_embeddings: whether embeddings are multiplied by the square root of d_model
        embedding_std: standard deviation of the embeddings' first values; d_model^-0.5 when left out
    """

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        d_model: Annotated[int, Gt(0)] = 512,
        encoder: seqx.Make[seqx.Encoder],
        pooling: Pooling = "mean",
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
        scale_embeddings: bool = True,
        embedding_std: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        super().__init__(vocab_sizes)
        self.d_model = d_model
        self.embedding = seqx.ScaledEmbedding(
            vocab_sizes["source"], d_model, scaled=scale_embeddings, std=embedding_std
        )
        self.encoder = encoder(d_model)
        self.limit = self.encoder.limit
        self.pool = POOLINGS[pooling]
        self.dropout = nn.Dropout(dropout)
        self.after = nn.Parameter(torch.randn(d_model))
        self.projection = nn.Linear(d_model, vocab_sizes["target"])

    def encode(self, source: seqx.Tokens) -> seqx.Memory:
        """Read the source [B, S]."""
        inputs = self.embedding(source.ids)
        return seqx.Memory(self.encoder(inputs, source.layout), inputs, source.layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> ClassifierState:
        """The state before the label."""
        sentence = self.pool(memory.states, memory.layout.keep)
        return ClassifierState(
            self.dropout(sentence), memory.layout.keep.new_zeros(len(sentence), dtype=torch.int64)
        )

    def advance(
        self, ids: Tensor, state: ClassifierState, keep: Tensor | None
    ) -> tuple[Tensor, ClassifierState]:
        """After target ids [B, T], whatever they are: outputs [B, T, D] that `head` reads, and the state."""
        kept = torch.ones_like(ids) if keep is None else keep.long()
        positions = state.lengths[:, None] + kept.cumsum(1) - kept  # [B, T]
        outputs = torch.where(
            positions[..., None] == 0, state.sentence[:, None], self.after.to(state.sentence)
        )
        return outputs, ClassifierState(state.sentence, state.lengths + kept.sum(1))

    def head(self, outputs: Tensor) -> Tensor:
        """Logits [..., V] of each next token, from outputs [..., D]."""
        return self.projection(outputs)
