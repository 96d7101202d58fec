"""A search whose answers have assumed lengths, to measure how long a trained model would search."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

import seqx

ANSWER_LENGTH = 1.15
"""The assumed length of an answer, relative to its reference."""

LONG_EVERY, LONG_RATIO = 16, 2.5
"""One answer in 16 is assumed to be 2.5 times as long as the others: models that are not fully trained
repeat words. The longest answer of a batch determines the number of steps of a search."""

EOS_PENALTY = 50.0
"""The number that is subtracted from the logit of EOS. It is finite: a grammar may allow no other symbol."""


class AssumedSearch(seqx.Search):
    """A search in which hypotheses end at their assumed length.

    The model of a probe is not trained, so it would end its answers at random. A grammar may end them
    earlier: when the outermost bracket of a tree is closed, only EOS is left. `missing_seconds` is the time
    that the rest of such answers would take.

    Args:
        search: the search of the recipe
        ratio: target tokens for each source token
    """

    def __init__(self, search: seqx.Search, ratio: float) -> None:
        self._search = search
        self._ratio = ratio * ANSWER_LENGTH
        self._seconds = 0.0
        self._assumed = self._made = 0  # extensions of hypotheses by one token

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
        assumed[::LONG_EVERY] *= LONG_RATIO
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
        endless: Any = _Endless(model, self._count)
        started = time.perf_counter()
        answers = self._search(endless, source, max_lengths, grammar, memory, trace)
        self._seconds += time.perf_counter() - started
        self._assumed += self.width * int(max_lengths.sum())
        return answers

    @property
    def missing_seconds(self) -> float:
        """The time that the rest of the answers that ended early would take, at the speed of the others."""
        return self._seconds * max(0.0, self._assumed / max(1, self._made) - 1)

    def _count(self, extensions: int) -> None:
        self._made += extensions


class _Endless:
    """A model, or the slots of a model, in which EOS is improbable.

    Args:
        wrapped: the model or the slots
        count: called with the number of hypotheses that each step extends
    """

    def __init__(self, wrapped: Any, count: Callable[[int], None]) -> None:
        self._wrapped = wrapped
        self._count = count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def slots(self, *arguments: Any) -> "_Endless":
        return _Endless(self._wrapped.slots(*arguments), self._count)

    def step(self, ids: Tensor) -> Tensor:
        logits: Tensor = self._wrapped.step(ids)
        logits[:, seqx.EOS] -= EOS_PENALTY
        self._count(len(ids))
        return logits
