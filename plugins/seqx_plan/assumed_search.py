"""A search whose answers have assumed lengths, to measure how long a trained model would search."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

import seqx

ANSWER_LENGTH = 1.15
"""The assumed length of an answer, relative to its reference."""

LATE_EVERY, LATE_LENGTH = 16, 2.5
"""One answer in 16 is assumed to be 2.5 times as long as the others: models that are not fully trained
repeat words. The longest answer of a batch determines the number of steps of a search."""

EOS_PENALTY = 50.0
"""Subtracted from the logit of EOS. It must stay finite: a grammar may allow no other symbol."""


class AssumedSearch(seqx.Search):
    """A search in which hypotheses end at their assumed length.

    The model of a probe is not trained, so it would end its answers at random.

    Args:
        search: the search of the recipe
        ratio: target tokens for each source token
    """

    def __init__(self, search: seqx.Search, ratio: float) -> None:
        self._search = search
        self._ratio = ratio * ANSWER_LENGTH

    @property
    def width(self) -> int:
        """The number of hypotheses of a sentence that the search extends at once."""
        return self._search.width

    @property
    def num_answers(self) -> int:
        """The number of answers to a sentence."""
        return self._search.num_answers

    def max_lengths(self, lengths: Tensor) -> Tensor:
        """Return the assumed lengths of the answers [B]; they do not exceed those that the search allows."""
        assumed = lengths * self._ratio
        assumed[::LATE_EVERY] *= LATE_LENGTH
        return self._search.max_lengths(lengths).minimum(assumed.ceil().long() + 1)

    def __call__(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        max_lengths: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
        trace: seqx.SearchTrace | None = None,
    ) -> Sequence[Sequence[seqx.Hypothesis]]:
        """Search with a model that ends no hypothesis before its maximum length."""
        endless: Any = _Endless(model)
        return self._search(endless, source, max_lengths, grammar, memory, trace)


class _Endless:
    """A model, or the slots of a model, in which EOS is improbable."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def slots(self, *arguments: Any) -> "_Endless":
        return _Endless(self._wrapped.slots(*arguments))

    def step(self, ids: Tensor) -> Tensor:
        logits: Tensor = self._wrapped.step(ids)
        logits[:, seqx.EOS] -= EOS_PENALTY
        return logits
