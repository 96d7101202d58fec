"""An encoder-decoder whose decoder receives the next word of the input.

Letters in shapes: B sentences, S source tokens, T target tokens, D = d_model, V symbols.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from annotated_types import Gt
from torch import Tensor, nn

import seqx
from seqx_parsing.guided_slots import GuidedSentences, GuidedSlots


class GuidedState(NamedTuple):
    """The decoder state, with the encoder states of the words."""

    decoder: seqx.State
    words: Tensor  # [B, S + 1, D] encoder state of each word's first token; 0 after the last word
    lengths: Tensor  # [B] number of words
    written: Tensor  # [B] number of words written so far


class GuidedEncoderDecoder(seqx.Generator):
    """Encoder-decoder with deterministic attention: the decoder receives the next word to write.

    A parser writes one symbol per input word, in order, so the next word is always known. The encoder state
    of that word is added to the decoder's input (Ma et al. 2017, Deterministic Attention for
    Sequence-to-Sequence Constituent Parsing). The decoder still attends to all words. Without this input, a
    parser must learn to count words, for which a small treebank is not enough.

    The layout of the source marks the tokens that begin a word. Without marks, each token is a word. Target
    ids that are less than the vocabulary size of `column` stand for words.

    Args:
        d_model: width of embeddings and states
        encoder: the encoder of the source
        decoder: the decoder of the target
        column: the column whose vocabulary size is the first target id that does not stand for a word
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
            raise ValueError(
                f"column: the task has no column {column!r}, whose size tells which target symbols stand for "
                f"words; its columns are {', '.join(vocab_sizes)}"
            )
        self.d_model = d_model
        self.first_nonword = vocab_sizes[column]
        self.source = seqx.ScaledEmbedding(vocab_sizes["source"], d_model)
        self.target = seqx.ScaledEmbedding(vocab_sizes["target"], d_model)
        self.projection = nn.Linear(d_model, vocab_sizes["target"], bias=False)
        self.encoder = encoder(d_model)
        self.decoder = decoder(d_model)
        self.decoder.check(source=True)
        self.next = nn.Linear(d_model, d_model)
        self.limit = seqx.smallest_limit(self.encoder.limit, self.decoder.limit)

    @property
    def symbol_embeddings(self) -> Mapping[str, seqx.ScaledEmbedding]:
        """The embeddings of the symbols of source and target."""
        return {"source": self.source, "target": self.target}

    def encode(self, source: seqx.Column) -> seqx.Memory:
        """Encode the source [B, S]."""
        inputs = self.source(source.values)
        return seqx.Memory(self.encoder(inputs, source.layout), inputs, source.layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> GuidedState:
        """Return the state before the first symbol; `capacity` is the maximum number of symbols."""
        count = len(memory.states)
        words, lengths = seqx.word_states(memory.states, memory.layout)
        decoder = self.decoder.start(memory, count, capacity)
        return GuidedState(decoder, words, lengths, torch.zeros_like(lengths))

    def advance(self, ids: Tensor, state: GuidedState, keep: Tensor | None) -> tuple[Tensor, GuidedState]:
        """Decode target ids [B, T]; return outputs [B, T, D] for `head`, and the new state."""
        word = self.is_word(ids)
        if keep is not None:
            word = word & keep
        written = state.written[:, None] + word.cumsum(1)  # [B, T]
        next_index = written.minimum(state.lengths[:, None])
        inputs = self.target(ids) + self.next(_rows(state.words, next_index))
        outputs, decoder = self.decoder(inputs, state.decoder, keep)
        return outputs, state._replace(decoder=decoder, written=written[:, -1])

    @property
    def reads_packed_rows(self) -> bool:
        """True if encoder and decoder can read packed rows."""
        return self.encoder.reads_packed_rows and self.decoder.reads_packed_rows

    def read_target(self, memory: seqx.Memory, target: seqx.Column) -> Tensor:
        """Return the outputs [B, T, D] from which `head` predicts each symbol of whole targets."""
        segments = target.layout.segments
        if segments is None:
            return super().read_target(memory, target)
        ids, index = target.shifted(), torch.arange(segments.size(1), device=segments.device)
        words, lengths = seqx.word_states(memory.states, memory.layout)  # [B, S + 1, D], [B, S] of segments
        written = self.is_word(ids).cumsum(1)
        written = written - written.gather(1, index - target.layout.positions)  # in its segment
        first = (lengths.cumsum(1) - lengths).gather(1, segments)
        after_last = words.size(1) - 1
        next_index = torch.where(written < lengths.gather(1, segments), first + written, after_last)
        inputs = self.target(ids) + self.next(_rows(words, next_index))
        return self.decoder.read(inputs, memory, target.layout)

    def slots(self, memory: seqx.Memory, count: int, hypotheses: int, capacity: int | None) -> seqx.Slots:
        """Return slots that store the words once per sentence; the default slots if the decoder has none."""
        if not self.decoder.has_slots:
            return super().slots(memory, count, hypotheses, capacity)

        def start(memory: seqx.Memory) -> GuidedSentences:
            state = self.start(memory, capacity)
            return GuidedSentences(state.decoder, self.next(state.words), state.lengths)

        sentences = start(memory)
        return GuidedSlots(
            self.decoder.slots(sentences.decoder, hypotheses, capacity),
            sentences,
            embed=self.target,
            head=self.head,
            is_word=self.is_word,
            start=start,
        )

    def is_word(self, ids: Tensor) -> Tensor:
        """Return true for each target id that stands for a word."""
        return (ids > seqx.UNK) & (ids < self.first_nonword)

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits [..., V] of each next symbol, from outputs [..., D]."""
        return self.projection(outputs)


def _rows(words: Tensor, index: Tensor) -> Tensor:
    """Return the states [B, T, D] of the words with the numbers `index` [B, T]."""
    return words.gather(1, index[..., None].expand(-1, -1, words.size(2)))
