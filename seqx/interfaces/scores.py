"""Perplexity, and the comparison of models by the scores of a validation."""

import math
from dataclasses import dataclass

PERPLEXITY = "perplexity"
"""The name of perplexity, which every validation computes in addition to the scores of the task."""


def perplexity(nats: float) -> float:
    """Return the exponential of a mean negative log-probability; infinity if it is too large for a float."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


@dataclass(frozen=True, kw_only=True)
class ValidationScore:
    """A score of a validation, with its perplexity.

    While a score has its worst value, such as BLEU 0.00 at the start of training, perplexity is compared
    instead.
    """

    name: str  # the name of a score of the task, or "perplexity"
    value: float
    rank: float  # larger is better, see Score.rank
    at_worst: bool  # see Score.at_worst
    perplexity: float | None  # of the same validation

    def beats(self, other: "ValidationScore") -> bool:
        """Return true if this score is better than another score of the same name."""
        if self.rank == other.rank:
            return self._has_lower_perplexity(other)
        return self.rank > other.rank

    def improves(self, best: "ValidationScore") -> bool:
        """Return true if this score beats `best`, or if both are at their worst and perplexity is lower."""
        return self.beats(best) or self._has_lower_perplexity(best)

    def __str__(self) -> str:
        """Return the text that commands print."""
        if self.name == PERPLEXITY:
            return f"{self.name} {self.value:.5g}"
        perplexity = "" if self.perplexity is None else f", perplexity {self.perplexity:.5g}"
        return f"{self.name} {self.value:.2f}{perplexity}"

    def _has_lower_perplexity(self, other: "ValidationScore") -> bool:
        if not (self.at_worst and other.at_worst) or self.perplexity is None or other.perplexity is None:
            return False
        return self.perplexity < other.perplexity or (
            math.isnan(other.perplexity) and not math.isnan(self.perplexity)
        )
