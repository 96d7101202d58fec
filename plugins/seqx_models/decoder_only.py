"""A decoder-only model: source and target are one sequence.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, V symbols of a vocabulary.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Gt
from torch import Tensor

import seqx
from seqx_models.encoder_decoder import EmbeddedSlots


class DecoderOnlyState(NamedTuple):
    """The state of the decoder, and the embedding that replaces BOS."""

    decoder: seqx.State
    first: Tensor | None  # [B, D] the embedding of the last source token; None after the first target token


class DecoderOnly(seqx.Generator):
    """A decoder that continues its source, as a language model does (Liu et al. 2018, section 4.2.3).

    Source and target are one sequence over one vocabulary. The decoder's output at the last source token
    predicts the first target token. The source of a language model is BOS, or BOS and a prompt. In other
    tasks the source ends with EOS, which separates it from the target. A source must not be empty.

    Args:
        d_model: width of embeddings and states, D
        decoder: decoder that does not use a source, such as a Transformer decoder with `use_source: false`
        tie_embeddings: tie the embedding and the output projection (Press and Wolf 2017)
        scale_embeddings: multiply embeddings by sqrt(d_model) (Vaswani et al. 2017, section 3.4)
        embedding_std: standard deviation of the initial embeddings; d_model^-0.5 if left out

    Raises:
        ValueError: source and target have vocabularies of different sizes, or the decoder uses a source
    """

    single_sequence = True
    renamed: ClassVar[Mapping[str, str]] = {"share": "tie_embeddings"}

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        d_model: Annotated[int, Gt(0)] = 512,
        decoder: seqx.Make[seqx.Decoder],
        tie_embeddings: bool = True,
        scale_embeddings: bool = True,
        embedding_std: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        super().__init__(vocab_sizes)
        source, target = vocab_sizes["source"], vocab_sizes["target"]
        if source != target:
            raise ValueError(
                "decoder_only needs one vocabulary for source and target, but theirs have "
                f"{source} and {target} symbols; set task.target_tokenizer: null"
            )
        self.d_model = d_model
        embedding = partial(seqx.ScaledEmbedding, target, d_model, scaled=scale_embeddings, std=embedding_std)
        self.embedding = embedding()
        self.projection = None if tie_embeddings else embedding()
        self.decoder = decoder(d_model)
        self.decoder.check(source=False)
        self.limit = self.decoder.limit

    @property
    def symbol_embeddings(self) -> Mapping[str, seqx.ScaledEmbedding]:
        """The embeddings, which source and target share."""
        return {"source": self.embedding, "target": self.embedding}

    def encode(self, source: seqx.Column) -> seqx.Memory:
        """Embed the source [B, S]; `start` runs the decoder over it."""
        inputs = self.embedding(source.values)
        return seqx.Memory(inputs, inputs, source.layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> DecoderOnlyState:
        """Run the decoder over the source except its last token, which replaces BOS in `advance`.

        `capacity` is the maximum number of target tokens.
        """
        inputs, keep = memory.inputs, memory.layout.keep
        batch, length = inputs.shape[:2]
        state = self.decoder.start(None, batch, None if capacity is None else capacity + length - 1)
        if length > 1:
            # keep[:, 1:] is true for tokens before the last one, because padding is on the right.
            _, state = self.decoder(inputs[:, :-1], state, keep[:, 1:])
        last = keep.sum(1) - 1
        return DecoderOnlyState(state, inputs[torch.arange(batch, device=inputs.device), last])

    def advance(
        self, ids: Tensor, state: DecoderOnlyState, keep: Tensor | None
    ) -> tuple[Tensor, DecoderOnlyState]:
        """Advance by target ids [B, T]; return outputs [B, T, D] and the state after them."""
        inputs = self.embedding(ids)
        if state.first is not None:  # the first token of `ids` is BOS
            inputs = torch.cat([state.first[:, None], inputs[:, 1:]], 1)
        outputs, decoder = self.decoder(inputs, state.decoder, keep)
        return outputs, DecoderOnlyState(decoder, None)

    def slots(self, memory: seqx.Memory, count: int, hypotheses: int, capacity: int | None) -> seqx.Slots:
        """Return slots that use those of the decoder; the default slots if the decoder has none."""
        if not self.decoder.has_slots:
            return super().slots(memory, count, hypotheses, capacity)
        state = self.start(memory, capacity)
        assert state.first is not None, "no target token was written"
        slots = self.decoder.slots(state.decoder, hypotheses, capacity)
        return DecoderOnlySlots(self, slots, state.first, capacity)

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits [..., V] of the next token for outputs [..., D]."""
        return (self.projection or self.embedding).logits(outputs)

    def specification(self) -> seqx.ModelSpec:
        """Return a description of the model for exporters."""
        embedding = seqx.describe(self.embedding)
        return seqx.ModelSpec(
            d_model=self.embedding.embedding_dim,
            encoder=None,
            decoder=seqx.describe(self.decoder, "decoder"),
            source=embedding,
            target=embedding,
            projection=(self.projection or self.embedding).weight,
        )


class DecoderOnlySlots(EmbeddedSlots):
    """Slots in which the last source token replaces BOS.

    Args:
        model: the model
        decoder: the slots of the decoder, which has read all other source tokens
        first: the embedding of the last source token of each slot [A, D]
        capacity: maximum number of tokens that will be written, if it is known
    """

    def __init__(self, model: DecoderOnly, decoder: seqx.Slots, first: Tensor, capacity: int | None) -> None:
        super().__init__(model, decoder, self._embed_with_source, capacity)
        self._embedding = model.embedding
        self._first = first  # by the number of the slot, also of released ones
        self._has_new = True  # some slot has written no token

    def _embed_with_source(self, ids: Tensor) -> Tensor:
        """Return the embeddings [N, D] of `ids` [N], with the last source token in place of BOS."""
        embedded: Tensor = self._embedding(ids)
        if not self._has_new:
            return embedded
        self._has_new = False
        slots = seqx.to_device(torch.tensor(self.occupied), ids.device)
        first = self._first[slots].repeat_interleave(self.hypotheses, 0)
        return torch.where((ids == seqx.BOS)[:, None], first, embedded)

    def fill(self, slots: Sequence[int], memory: seqx.Memory) -> None:
        """Put further sentences into released slots; the last source token replaces BOS."""
        state = self._model.start(memory, self._capacity)
        index = seqx.to_device(torch.tensor(slots), self._first.device)
        self._first = self._first.index_copy(0, index, state.first)
        self._decoder.fill(slots, state.decoder)
        self._has_new = True
        self.occupied = self._decoder.occupied
