"""An encoder and a decoder that is shown the next word.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, V symbols.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from annotated_types import Gt
from torch import Tensor, nn

import seqx


class Guided(NamedTuple):
    """What the model remembers between symbols."""

    decoder: seqx.State
    words: Tensor  # [B, S + 1, D] the encoder's state of each word's first token; behind the last word 0
    lengths: Tensor  # [B] number of words
    written: Tensor  # [B] number of words that the output has so far


class GuidedEncoderDecoder(seqx.Model):
    """An encoder-decoder whose decoder sees the next word that it has to write (deterministic attention).

    A parser's output has a symbol for each word, in their order, so that it is known which word comes next:
    the encoder's state of that word is added to the decoder's input (Ma et al. 2017, Deterministic Attention
    for Sequence-to-Sequence Constituent Parsing; here beside the usual attention, which goes on seeing all
    words). Without it a parser must learn to count, for which a small treebank does not suffice.

    Which tokens of the source begin a word says their layout; without, each is one. The ids of the target
    that stand for words are those below the size of `column`.

    Args:
        d_model: width of embeddings and states
        encoder: what reads the source
        decoder: what writes the target
        column: whose size tells the symbols of words from others
    """

    def __init__(
        self,
        vocab_sizes: Mapping[str, int],
        *,
        d_model: Annotated[int, Gt(0)] = 512,
        encoder: seqx.Make[seqx.Encoder],
        decoder: seqx.Make[seqx.Decoder],
        column: str = seqx.WORDS,
    ) -> None:
        super().__init__(vocab_sizes)
        if column not in vocab_sizes:
            raise ValueError(f"the task does not say which symbols are words: it has no column {column!r}")
        self.d_model = d_model
        self.first_other = vocab_sizes[column]
        self.source = seqx.ScaledEmbedding(vocab_sizes["source"], d_model)
        self.target = seqx.ScaledEmbedding(vocab_sizes["target"], d_model)
        self.projection = nn.Linear(d_model, vocab_sizes["target"], bias=False)
        self.encoder = encoder(d_model)
        self.decoder = decoder(d_model)
        self.decoder.check(source=True)
        self.next = nn.Linear(d_model, d_model)
        self.limit = seqx.smallest_limit(self.encoder.limit, self.decoder.limit)

    def encode(self, source: seqx.Tokens) -> seqx.Memory:
        """Read the source [B, S]."""
        inputs = self.source(source.ids)
        return seqx.Memory(self.encoder(inputs, source.layout), inputs, source.layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> Guided:
        """The state before the first symbol; `capacity`: the most symbols that will be written."""
        count, places, width = memory.states.shape
        layout, none = memory.layout, memory.states.new_zeros(count, dtype=torch.int64)
        words = layout.keep.long().cumsum(1) - 1 if layout.words is None else layout.words  # [B, S]
        words = words.clamp_min(0)
        begins = layout.keep & (words != nn.functional.pad(words, (1, 0), value=-1)[:, :-1])
        lengths = begins.sum(1)
        # Each word's first place, found without loops: scattered by the number of the word.
        target = torch.where(begins, words, places)
        first = (
            none[:, None]
            .new_zeros(count, places + 1)
            .scatter(1, target, torch.arange(places, device=words.device).expand(count, -1))
        )
        states = memory.states.gather(1, first[..., None].expand(-1, -1, width))
        here = torch.arange(places + 1, device=words.device) < lengths[:, None]
        decoder = self.decoder.start(memory, count, capacity)
        return Guided(decoder, states.masked_fill(~here[..., None], 0), lengths, none)

    def advance(self, ids: Tensor, state: Guided, keep: Tensor | None) -> tuple[Tensor, Guided]:
        """After target ids [B, T]: outputs [B, T, D] that `head` reads, and the state."""
        word = (ids > seqx.UNK) & (ids < self.first_other)
        if keep is not None:
            word = word & keep
        written = state.written[:, None] + word.cumsum(1)  # [B, T]
        coming = written.minimum(state.lengths[:, None])
        shown = state.words.gather(1, coming[..., None].expand(-1, -1, state.words.size(2)))
        inputs = self.target(ids) + self.next(shown)
        outputs, decoder = self.decoder(inputs, state.decoder, keep)
        return outputs, state._replace(decoder=decoder, written=written[:, -1])

    def head(self, outputs: Tensor) -> Tensor:
        """Logits [..., V] of each next symbol, from outputs [..., D]."""
        return self.projection(outputs)
