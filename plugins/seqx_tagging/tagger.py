"""An encoder that labels words.

Letters in shapes: B sentences, S source tokens, T words, D = d_model, L labels.
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx
from seqx_tagging.label_head import LabelHead

_LENGTH = 1000  # of a source, to find out if an input layer shortens it


class Tagger(seqx.Model):
    """A tagger: an encoder, and a linear map from the state of each word's first token to its label.

    If the layout of the source does not mark words, each token is a word.

    Args:
        d_model: width of embeddings and states, D
        encoder: encoder of the source
        source_input: input layer of the source, for a task whose source has vectors; token embeddings if left
            out
        dropout: dropout probability of the states
        scale_embeddings: multiply embeddings by sqrt(d_model) (Vaswani et al. 2017, section 3.4)
        embedding_std: standard deviation of the initial embeddings; d_model^-0.5 if left out

    Raises:
        ValueError: the input layer shortens the source, so that words have no state
    """

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        d_model: Annotated[int, Gt(0)] = 512,
        encoder: seqx.Make[seqx.Encoder],
        source_input: seqx.Make[seqx.InputLayer] | None = None,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
        scale_embeddings: bool = True,
        embedding_std: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        super().__init__(vocab_sizes)
        self.embedding = seqx.source_input(
            source_input, vocab_sizes["source"], d_model, scaled=scale_embeddings, std=embedding_std
        )
        if self.embedding.output_length(_LENGTH) != _LENGTH:
            raise ValueError(
                "source_input: it shortens the source, but each token may need a label; choose an input "
                "layer that keeps the length, such as projection"
            )
        self.encoder = encoder(d_model)
        self.limit = self.encoder.limit
        self.tag = LabelHead(d_model, vocab_sizes["target"], dropout)

    @property
    def symbol_embeddings(self) -> Mapping[str, seqx.ScaledEmbedding]:
        """The embeddings of source symbols, if the source has symbols."""
        return {"source": self.embedding} if isinstance(self.embedding, seqx.ScaledEmbedding) else {}

    def forward(self, batch: seqx.Batch) -> Tensor:
        """Return the states of the words [B, T, D]; 0 for target tokens without a word."""
        source, target = batch.columns["source"], batch.columns["target"]
        embedded, layout = self.embedding.embed(source)
        states, _ = seqx.word_states(self.encoder(embedded, layout), layout)
        words = torch.arange(target.values.size(1), device=states.device).clamp_max(states.size(1) - 1)
        return states[:, words]

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits [..., L] of the labels, from outputs [..., D]."""
        return self.tag(outputs)
