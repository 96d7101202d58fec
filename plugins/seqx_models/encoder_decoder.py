"""The encoder-decoder model.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, V symbols of a vocabulary.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

import seqx
from seqx_models.input_layers import with_embedded_source


class EncoderDecoder(seqx.Generator):
    """A model with an encoder of the source and a decoder of the target (Sutskever et al. 2014).

    The embeddings and the output projection can be tied (Press and Wolf 2017; Vaswani et al. 2017, section
    3.4).

    Args:
        d_model: width of embeddings and states, D
        encoder: encoder of the source
        decoder: decoder of the target
        source_input: input layer of the source, for a task whose source has vectors; token embeddings if left
            out
        tie_embeddings: matrices that are tied: none; the target embedding and the output projection
            (target); or both of these and the source embedding (all), as in Vaswani et al. 2017
        scale_embeddings: multiply embeddings by sqrt(d_model) (Vaswani et al. 2017, section 3.4)
        embedding_std: standard deviation of the initial embeddings; d_model^-0.5 if left out
        output_bias: add a bias to the logits, initially 0

    Raises:
        ValueError: `tie_embeddings: all` with vocabularies of different sizes or with an input layer, the
            source has vectors and there is no input layer, or the decoder does not use a source
    """

    renamed: ClassVar[Mapping[str, str]] = {"share": "tie_embeddings"}

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        d_model: Annotated[int, Gt(0)] = 512,
        encoder: seqx.Make[seqx.Encoder],
        decoder: seqx.Make[seqx.Decoder],
        source_input: seqx.Make[seqx.InputLayer] | None = None,
        tie_embeddings: Literal["none", "target", "all"] = "none",
        scale_embeddings: bool = True,
        embedding_std: Annotated[float, Gt(0)] | None = None,
        output_bias: bool = False,
    ) -> None:
        super().__init__(vocab_sizes)
        source, target = vocab_sizes["source"], vocab_sizes["target"]
        if tie_embeddings == "all" and source_input is not None:
            raise ValueError(
                "tie_embeddings: all ties the embeddings of the source, which source_input replaces; "
                "set tie_embeddings: target"
            )
        if tie_embeddings == "all" and source != target:
            raise ValueError(
                "tie_embeddings: all needs one vocabulary for source and target, but theirs have "
                f"{source} and {target} symbols; set tie_embeddings: target, or task.target_tokenizer: null"
            )
        self.d_model = d_model
        embedding = partial(seqx.ScaledEmbedding, d_model=d_model, scaled=scale_embeddings, std=embedding_std)
        self.target = embedding(target)
        self.source: seqx.InputLayer | seqx.ScaledEmbedding | None = None
        if tie_embeddings != "all":
            self.source = seqx.source_input(
                source_input, source, d_model, scaled=scale_embeddings, std=embedding_std
            )
        self.projection = embedding(target) if tie_embeddings == "none" else None
        self.output_bias = nn.Parameter(torch.zeros(target)) if output_bias else None
        self.encoder = encoder(d_model)
        self.decoder = decoder(d_model)
        self.decoder.check(source=True)
        self.limit = seqx.smallest_limit(self.encoder.limit, self.decoder.limit)

    @property
    def _source_input(self) -> seqx.InputLayer | seqx.ScaledEmbedding:
        return self.target if self.source is None else self.source

    @property
    def symbol_embeddings(self) -> Mapping[str, seqx.ScaledEmbedding]:
        """The embeddings of target symbols, and those of source symbols if the source has symbols."""
        source = self._source_input
        return {"target": self.target} | (
            {"source": source} if isinstance(source, seqx.ScaledEmbedding) else {}
        )

    @property
    def reads_packed_rows(self) -> bool:
        """True if encoder and decoder can, the source has ids, and no subclass has its own `advance`."""
        has_ids = isinstance(self._source_input, seqx.ScaledEmbedding)
        is_plain = type(self).advance is EncoderDecoder.advance
        return has_ids and is_plain and self.encoder.reads_packed_rows and self.decoder.reads_packed_rows

    def read_target(self, memory: seqx.Memory, target: seqx.Column) -> Tensor:
        """Return the outputs [B, T, D] from which `head` predicts each token of whole targets."""
        if target.layout.segments is None:
            return super().read_target(memory, target)
        return self.decoder.read(self.target(target.shifted()), memory, target.layout)

    def encode(self, source: seqx.Column) -> seqx.Memory:
        """Encode the source [B, S]."""
        inputs, layout = self._source_input.embed(source)
        return seqx.Memory(self.encoder(inputs, layout), inputs, layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> seqx.State:
        """Return the decoder's state before the first token; `capacity` is the maximum number of tokens."""
        return self.decoder.start(memory, memory.states.size(0), capacity)

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        """Advance by target ids [B, T]; return outputs [B, T, D] and the state after them."""
        return self.decoder(self.target(ids), state, keep)

    def slots(self, memory: seqx.Memory, count: int, hypotheses: int, capacity: int | None) -> seqx.Slots:
        """Return slots that use those of the decoder; the default slots if the decoder has none."""
        if not self.decoder.has_slots:
            return super().slots(memory, count, hypotheses, capacity)
        slots = self.decoder.slots(self.start(memory, capacity), hypotheses, capacity)
        return EmbeddedSlots(self, slots, self.target, capacity)

    def positions_used(self, lengths: Mapping[str, seqx.Integers]) -> seqx.Integers:
        """Return the larger length of the embedded source and the target, of each example."""
        return super().positions_used(with_embedded_source(lengths, self._source_input))

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits [..., V] of the next token for outputs [..., D]."""
        return (self.projection or self.target).logits(outputs, self.output_bias)

    def specification(self) -> seqx.ModelSpec:
        """Return a description of the model for exporters, unless an input layer reads the source."""
        return seqx.ModelSpec(
            d_model=self.target.embedding_dim,
            encoder=seqx.describe(self.encoder, "encoder"),
            decoder=seqx.describe(self.decoder, "decoder"),
            source=seqx.describe(self._source_input, "source_input"),
            target=seqx.describe(self.target, "decoder"),
            projection=(self.projection or self.target).weight,
            projection_bias=self.output_bias,
        )


class EmbeddedSlots(seqx.Slots):
    """Slots of a decoder, with the embeddings and the head of a model.

    Args:
        model: the model
        decoder: slots whose `step` maps embeddings [N, D] to outputs [N, D]
        embed: maps ids [N] to embeddings [N, D]
        capacity: maximum number of tokens that will be written, if it is known
    """

    def __init__(
        self,
        model: seqx.Generator,
        decoder: seqx.Slots,
        embed: Callable[[Tensor], Tensor],
        capacity: int | None,
    ) -> None:
        self.hypotheses = decoder.hypotheses
        self.occupied = decoder.occupied
        self._model = model
        self._decoder = decoder
        self._embed = embed
        self._capacity = capacity

    def step(self, ids: Tensor) -> Tensor:
        """Advance each hypothesis by one token of `ids` [N], BOS first; return the next logits [N, V]."""
        return self._model.head(self._decoder.step(self._embed(ids)))

    def reorder(self, parents: Tensor) -> None:
        """Replace each hypothesis by a hypothesis of the same slot: [A, K]."""
        self._decoder.reorder(parents)

    def release(self, slots: Collection[int]) -> None:
        """Remove the sentences in these slots; the other slots keep their numbers."""
        self._decoder.release(slots)
        self.occupied = self._decoder.occupied

    def fill(self, slots: Sequence[int], memory: seqx.State) -> None:
        """Put further sentences into released slots; their first token is BOS."""
        self._decoder.fill(slots, self._model.start(memory, self._capacity))
        self.occupied = self._decoder.occupied
