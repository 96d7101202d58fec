"""An encoder with a linear classifier.

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
    """The state of a classifier between the label and EOS."""

    sentence: Tensor  # [B, D] the pooled states of the source
    lengths: Tensor  # [B] the number of target tokens so far


class Classifier(seqx.Model):
    """A classifier: encoder, pooling and a linear map to the labels.

    The target is a label followed by EOS, so that every objective and search works. The distribution of the
    label depends on the source. The distribution after the label comes from one trained vector, which is the
    same for all sources and labels. Training soon gives EOS a probability near 1 there, so the
    log-probability of a target is almost that of its label.

    Args:
        d_model: width of embeddings and states, D
        encoder: encoder of the source
        source_input: input layer of the source, for a task whose source has vectors; token embeddings if left
            out
        pooling: reduction of the encoder states to one vector: their mean, their maximum in each dimension
            (max), or the first state
        dropout: dropout probability of the pooled state
        scale_embeddings: multiply embeddings by sqrt(d_model) (Vaswani et al. 2017, section 3.4)
        embedding_std: standard deviation of the initial embeddings; d_model^-0.5 if left out
    """

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        d_model: Annotated[int, Gt(0)] = 512,
        encoder: seqx.Make[seqx.Encoder],
        source_input: seqx.Make[seqx.InputLayer] | None = None,
        pooling: Pooling = "mean",
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
        scale_embeddings: bool = True,
        embedding_std: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        super().__init__(vocab_sizes)
        self.d_model = d_model
        self.embedding: seqx.InputLayer | seqx.ScaledEmbedding
        if source_input is None:
            self.embedding = seqx.ScaledEmbedding(
                vocab_sizes["source"], d_model, scaled=scale_embeddings, std=embedding_std
            )
        else:
            self.embedding = source_input(vocab_sizes["source"], d_model)
        self.encoder = encoder(d_model)
        self.limit = self.encoder.limit
        self.pool = POOLINGS[pooling]
        self.dropout = nn.Dropout(dropout)
        self.after = nn.Parameter(torch.randn(d_model))  # the output after the label
        self.projection = nn.Linear(d_model, vocab_sizes["target"])

    def encode(self, source: seqx.Column) -> seqx.Memory:
        """Encode the source [B, S]."""
        inputs, layout = self.embedding.embed(source)
        return seqx.Memory(self.encoder(inputs, layout), inputs, layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> ClassifierState:
        """Pool the source; return the state before the label."""
        sentence = self.pool(memory.states, memory.layout.keep)
        return ClassifierState(
            self.dropout(sentence), memory.layout.keep.new_zeros(len(sentence), dtype=torch.int64)
        )

    def advance(
        self, ids: Tensor, state: ClassifierState, keep: Tensor | None
    ) -> tuple[Tensor, ClassifierState]:
        """Advance by target ids [B, T], whose values are ignored; return outputs [B, T, D] and the state."""
        kept = torch.ones_like(ids) if keep is None else keep.long()
        positions = state.lengths[:, None] + kept.cumsum(1) - kept  # [B, T]
        outputs = torch.where(
            positions[..., None] == 0, state.sentence[:, None], self.after.to(state.sentence)
        )
        return outputs, ClassifierState(state.sentence, state.lengths + kept.sum(1))

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits [..., V] of the next token for outputs [..., D]."""
        return self.projection(outputs)
