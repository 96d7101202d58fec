"""A decoder alone: what it reads and what it writes are one sequence.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, V symbols of a vocabulary.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, NamedTuple

import torch
from annotated_types import Gt
from torch import Tensor

import seqx


class DecoderOnlyState(NamedTuple):
    """The state of a decoder, and what comes first where nothing was written yet."""

    decoder: seqx.State
    first: Tensor | None  # [B, D] the embedding of the source's last token, which stands for BOS


class DecoderOnly(seqx.Model):
    """A decoder that goes on from its source, as language models do (Liu et al. 2018, section 4.2).

    Source and target are one sequence of one vocabulary, so that the source needs no BOS and no encoder: the
    last token of the source is what the first token of the target follows. A language model's source is BOS
    alone, or BOS and a prompt. Of other tasks the source ends with EOS, which parts it from the target; no
    source may be empty.

    Args:
        d_model: width of embeddings and states
        decoder: what writes; it must not look at a source (of the Transformer's, `cross: false`)
        share: whether the projection before the softmax is the embedding (Press and Wolf 2017)
        scale_embeddings: whether embeddings are multiplied by the square root of d_model
        embedding_std: standard deviation of the embeddings' first values; d_model^-0.5 when left out

    Raises:
        ValueError: when source and target have vocabularies of different sizes, or the decoder looks at a
            source
    """

    single_sequence = True

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        d_model: Annotated[int, Gt(0)] = 512,
        decoder: seqx.Make[seqx.Decoder],
        share: bool = True,
        scale_embeddings: bool = True,
        embedding_std: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        super().__init__(vocab_sizes)
        source, target = vocab_sizes["source"], vocab_sizes["target"]
        if source != target:
            raise ValueError(
                f"decoder_only has one vocabulary; the task's two have {source} and {target} symbols"
            )
        self.d_model = d_model
        embedding = partial(seqx.ScaledEmbedding, target, d_model, scaled=scale_embeddings, std=embedding_std)
        self.embedding = embedding()
        self.projection = None if share else embedding()
        self.decoder = decoder(d_model)
        self.decoder.check(source=False)
        self.limit = self.decoder.limit

    def encode(self, source: seqx.Tokens) -> seqx.Memory:
        """Embed the source [B, S]; it is read when the target is started."""
        inputs = self.embedding(source.ids)
        return seqx.Memory(inputs, inputs, source.layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> DecoderOnlyState:
        """After all of the source but its last token; `capacity`: the most tokens that will be written."""
        inputs, keep = memory.inputs, memory.layout.keep
        batch, read = inputs.shape[:2]
        state = self.decoder.start(None, batch, None if capacity is None else capacity + read - 1)
        if read > 1:
            # A place is read where another of the source follows: padding stays on the right.
            _, state = self.decoder(inputs[:, :-1], state, keep[:, 1:])
        last = keep.sum(1) - 1
        return DecoderOnlyState(state, inputs[torch.arange(batch, device=inputs.device), last])

    def advance(
        self, ids: Tensor, state: DecoderOnlyState, keep: Tensor | None
    ) -> tuple[Tensor, DecoderOnlyState]:
        """After target ids [B, T]: outputs [B, T, D] that `head` reads, and the state."""
        inputs = self.embedding(ids)
        if state.first is not None:  # then the first of `ids` is BOS
            inputs = torch.cat([state.first[:, None], inputs[:, 1:]], 1)
        outputs, decoder = self.decoder(inputs, state.decoder, keep)
        return outputs, DecoderOnlyState(decoder, None)

    def head(self, outputs: Tensor) -> Tensor:
        """Logits [..., V] of each next token, from outputs [..., D]."""
        return (self.projection or self.embedding).logits(outputs)
