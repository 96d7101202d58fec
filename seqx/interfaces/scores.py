"""Perplexity, and the scores of a validation by which models are compared."""

import math
from dataclasses import dataclass

PERPLEXITY = "perplexity"
"""The name of perplexity, which every validation computes besides the scores of its task."""


def perplexity(nats: float) -> float:
    """Return the exponential of a mean negative log-probability; infinity if it is too large for a float."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


@dataclass(frozen=True, kw_only=True)
class ValidationScore:
    """A score or the perplexity of a validation. At the worst value of the score, perplexity is compared."""

    name: str  # of a score of the task, or "perplexity"
    value: float
    rank: float  # larger is better, see Score.rank
    at_worst: bool  # see Score.at_worst
    perplexity: float | None  # of the same validation

    def beats(self, other: "ValidationScore") -> bool:
        """Return true if it is better than another one of the same name."""
        if self.rank == other.rank:
            return self._tells_more(other)
        return self.rank > other.rank

    def improves(self, best: "ValidationScore") -> bool:
        """Return true if it is better than `best`; while both are at their worst, compare perplexity."""
        return self.beats(best) or self._tells_more(best)

    def __str__(self) -> str:
        """Return the text that commands print."""
        if self.name == PERPLEXITY:
            return f"{self.name} {self.value:.5g}"
        beside = "" if self.perplexity is None else f", perplexity {self.perplexity:.5g}"
        return f"{self.name} {self.value:.2f}{beside}"

    def _tells_more(self, other: "ValidationScore") -> bool:
        if not (self.at_worst and other.at_worst) or self.perplexity is None or other.perplexity is None:
            return False
        return self.perplexity < other.perplexity or (
            math.isnan(other.perplexity) and not math.isnan(self.perplexity)
        )
