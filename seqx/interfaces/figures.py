"""Perplexity, and the figures of a validation by which models are compared."""

import math
from dataclasses import dataclass

PERPLEXITY = "perplexity"
"""The name of the figure that every validation has, besides the scores of its task."""


def perplexity(nats: float) -> float:
    """Return the exponential of a mean negative log-probability; infinity where no float is as large."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a validation. At the metric's worst value, perplexity tells models apart."""

    name: str  # of a score of the task, or "perplexity"
    value: float
    rank: float  # larger is better, see Score.rank
    at_worst: bool  # see Score.at_worst
    perplexity: float | None  # of the same validation

    def beats(self, other: "Figure") -> bool:
        """Return whether it is better than another one of the same name."""
        if self.rank == other.rank:
            return self._tells_more(other)
        return self.rank > other.rank

    def improves(self, best: "Figure") -> bool:
        """Return whether training got on since `best`; while both are at their worst, perplexity tells."""
        return self.beats(best) or self._tells_more(best)

    def __str__(self) -> str:
        """As commands print it."""
        if self.name == PERPLEXITY:
            return f"{self.name} {self.value:.5g}"
        beside = "" if self.perplexity is None else f", perplexity {self.perplexity:.5g}"
        return f"{self.name} {self.value:.2f}{beside}"

    def _tells_more(self, other: "Figure") -> bool:
        if not (self.at_worst and other.at_worst) or self.perplexity is None or other.perplexity is None:
            return False
        return self.perplexity < other.perplexity or (
            math.isnan(other.perplexity) and not math.isnan(self.perplexity)
        )
