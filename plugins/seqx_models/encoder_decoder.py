"""An encoder and a decoder, with the embeddings around them.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, V symbols of a vocabulary.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

from annotated_types import Gt
from torch import Tensor

import seqx


class EncoderDecoder(seqx.Model):
    """An encoder reads the source, a decoder writes the target (Sutskever et al. 2014; Cho et al. 2014).

    Both embeddings and the projection before the softmax can share their weights (Press and Wolf 2017;
    Vaswani et al. 2017, section 3.4).

    Args:
        d_model: width of embeddings and states
        encoder: what reads the source
        decoder: what writes the target
        share: target: the target's embedding is the projection, too; all: and the source's, the paper's way
        scale_embeddings: whether embeddings are multiplied by the square root of d_model
        embedding_std: standard deviation of the embeddings' first values; d_model^-0.5 when left out

    Raises:
        ValueError: when all embeddings are to be shared by vocabularies of different sizes, or the decoder
            looks at no source
    """

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        d_model: Annotated[int, Gt(0)] = 512,
        encoder: seqx.Make[seqx.Encoder],
        decoder: seqx.Make[seqx.Decoder],
        share: Literal["none", "target", "all"] = "none",
        scale_embeddings: bool = True,
        embedding_std: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        super().__init__(vocab_sizes)
        source, target = vocab_sizes["source"], vocab_sizes["target"]
        if share == "all" and source != target:
            raise ValueError(
                f"share: all needs one vocabulary for both sides; they have {source} and {target} symbols"
            )
        self.d_model = d_model
        embedding = partial(seqx.ScaledEmbedding, d_model=d_model, scaled=scale_embeddings, std=embedding_std)
        self.target = embedding(target)
        self.source = None if share == "all" else embedding(source)
        self.projection = embedding(target) if share == "none" else None
        self.encoder = encoder(d_model)
        self.decoder = decoder(d_model)
        self.decoder.check(source=True)
        self.limit = seqx.smallest_limit(self.encoder.limit, self.decoder.limit)

    def encode(self, source: seqx.Tokens) -> seqx.Memory:
        """Read the source [B, S]."""
        inputs = (self.source or self.target)(source.ids)
        return seqx.Memory(self.encoder(inputs, source.layout), inputs, source.layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> seqx.State:
        """The state before the first target token; `capacity`: the most tokens that will be written."""
        return self.decoder.start(memory, memory.states.size(0), capacity)

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        """After target ids [B, T]: outputs [B, T, D] that `head` reads, and the state."""
        return self.decoder(self.target(ids), state, keep)

    def head(self, outputs: Tensor) -> Tensor:
        """Logits [..., V] of each next token, from outputs [..., D]."""
        return (self.projection or self.target).logits(outputs)
