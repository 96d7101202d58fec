"""The slots of a model whose decoder receives the next word of the input.

Letters in shapes: A occupied slots, K hypotheses of each slot, N = A * K, B sentences, W words of the longest
sentence, D = d_model, V symbols.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import seqx


class GuidedSentences(NamedTuple):
    """Sentences before their first symbol."""

    decoder: seqx.State
    words: Tensor  # [B, W + 1, D] what the decoder receives with each next word, and after the last word
    lengths: Tensor  # [B] number of words


class GuidedSlots(seqx.Slots):
    """Slots that store what the decoder receives with each word once per sentence.

    Args:
        decoder: the slots of the decoder, whose `step` maps embeddings [N, D] to outputs [N, D]
        sentences: the sentences of all slots
        embed: maps symbols [N] to embeddings [N, D]
        head: maps outputs [N, D] to logits [N, V]
        is_word: returns true for symbols [N] that stand for a word
        start: maps the memory of sentences to `GuidedSentences`
    """

    def __init__(
        self,
        decoder: seqx.Slots,
        sentences: GuidedSentences,
        *,
        embed: Callable[[Tensor], Tensor],
        head: Callable[[Tensor], Tensor],
        is_word: Callable[[Tensor], Tensor],
        start: Callable[[seqx.Memory], GuidedSentences],
    ) -> None:
        self.hypotheses = decoder.hypotheses
        self._decoder = decoder
        self._embed, self._head, self._is_word, self._start = embed, head, is_word, start
        self._words, self._lengths = sentences.words, sentences.lengths  # by slot, also of released ones
        self._written = self._lengths.new_zeros(len(self._lengths), self.hypotheses)  # [A, K] words
        self._occupy()

    def step(self, ids: Tensor) -> Tensor:
        """Advance each hypothesis by one token of `ids` [N], BOS first; return the next logits [N, V]."""
        self._written = self._written + self._is_word(ids).view_as(self._written)
        row = (self._first_row + self._written.minimum(self._num_words)).flatten()
        next_words = self._words.flatten(0, 1).index_select(0, row)
        return self._head(self._decoder.step(self._embed(ids) + next_words))

    def reorder(self, parents: Tensor) -> None:
        """Replace each hypothesis by a hypothesis of the same slot: [A, K]."""
        self._decoder.reorder(parents)
        self._written = self._written.gather(1, parents)

    def release(self, slots: Collection[int]) -> None:
        """Remove the sentences in these slots; the other slots keep their numbers."""
        kept = [row for row, slot in enumerate(self.occupied) if slot not in slots]
        self._written = self._written.index_select(0, self._index(kept))
        self._decoder.release(slots)
        self._occupy()

    def fill(self, slots: Sequence[int], memory: seqx.Memory) -> None:
        """Put further sentences into released slots; their first token is BOS."""
        new = self._start(memory)
        index = self._index(slots)
        width = max(self._words.size(1), new.words.size(1))
        words, new_words = (F.pad(x, (0, 0, 0, width - x.size(1))) for x in (self._words, new.words))
        self._words = words.index_copy(0, index, new_words)
        self._lengths = self._lengths.index_copy(0, index, new.lengths)
        written = self._lengths.new_zeros(len(self._lengths), self.hypotheses)
        written = written.index_copy(0, self._index(self.occupied), self._written)
        self._decoder.fill(slots, new.decoder)
        self._occupy()
        self._written = written.index_select(0, self._index(self.occupied))

    def _occupy(self) -> None:
        """Note which slots are occupied."""
        self.occupied = self._decoder.occupied
        slots = self._index(self.occupied)[:, None]
        self._first_row = slots * self._words.size(1)  # [A, 1] the row of a sentence's first word
        self._num_words = self._lengths[slots]  # [A, 1] the number of its words

    def _index(self, numbers: Sequence[int]) -> Tensor:
        return seqx.to_device(torch.tensor(numbers, dtype=torch.int64), self._lengths.device)
