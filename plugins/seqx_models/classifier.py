"""An encoder with a linear classifier.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, V labels and special symbols.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

import seqx
from seqx_models.input_layers import with_embedded_source
from seqx_models.pooling import POOLINGS, Pooling


class Classifier(seqx.Model):
    """A classifier: encoder, pooling and a linear map to the labels.

    The target is a label. If a task has several target tokens, all of them have the same distribution.

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

    removed_weights: ClassVar[tuple[str, ...]] = ("after",)  # predicted EOS after the label in old versions

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
        self.embedding = seqx.source_input(
            source_input, vocab_sizes["source"], d_model, scaled=scale_embeddings, std=embedding_std
        )
        self.encoder = encoder(d_model)
        self.limit = self.encoder.limit
        self.pool = POOLINGS[pooling]
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(d_model, vocab_sizes["target"])

    @property
    def symbol_embeddings(self) -> Mapping[str, seqx.ScaledEmbedding]:
        """The embeddings of source symbols, if the source has symbols."""
        return {"source": self.embedding} if isinstance(self.embedding, seqx.ScaledEmbedding) else {}

    def positions_used(self, lengths: Mapping[str, seqx.Integers]) -> seqx.Integers:
        """Return the length of the embedded source of each example."""
        return super().positions_used(with_embedded_source(lengths, self.embedding))

    def forward(self, batch: seqx.Batch) -> Tensor:
        """Return the pooled states of the sources, once for each target token: [B, T, D]."""
        source, target = batch.columns["source"], batch.columns["target"]
        inputs, layout = self.embedding.embed(source)
        pooled = self.dropout(self.pool(self.encoder(inputs, layout), layout.keep))
        return pooled[:, None].expand(-1, target.values.size(1), -1)

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits [..., V] of the label for outputs [..., D]."""
        return self.projection(outputs)
