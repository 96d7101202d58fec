"""How well questions are answered, as SQuAD defines it (Rajpurkar et al. 2016, section 6.1)."""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import seqx

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> list[str]:
    """The tokens that are compared: small letters, no ASCII punctuation, no articles."""
    text = answer.lower().translate(_PUNCTUATION)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def exact(output: str, reference: str) -> float:
    """1 where both have the same tokens in the same order, else 0."""
    return float(normalized(output) == normalized(reference))


def overlap(output: str, reference: str) -> float:
    """F1 of the tokens that both have; where either has none, 1 if both have (Rajpurkar et al. 2018)."""
    said, wanted = normalized(output), normalized(reference)
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (Counter(said) & Counter(wanted)).total() / (len(said) + len(wanted))


@dataclass(frozen=True, kw_only=True)
class _Best(seqx.Metric):
    """The mean over questions of a measure against the answer that suits best.

    Args:
        between: what stands between several right answers in a reference, as "|"; null: there is one
    """

    between: str | None = None

    def __post_init__(self) -> None:
        if self.between == "":
            raise ValueError("between is empty; set what stands between answers, or null where there is one")

    def _score(
        self, measure: Callable[[str, str], float], outputs: Sequence[str], references: Sequence[str]
    ) -> seqx.Score:
        values = [
            max(measure(output, answer) for answer in self._answers(reference))
            for output, reference in zip(outputs, references, strict=True)
        ]
        value = 100 * sum(values) / len(values) if values else 0.0
        several = "one" if self.between is None else f"best of those between {self.between!r}"
        return seqx.Score(
            value=value,
            signature=f"case:lc|punctuation:no|articles:no|answers:{several}|questions:{len(values)}",
        )

    def _answers(self, reference: str) -> list[str]:
        return [reference] if self.between is None else reference.split(self.between)


@dataclass(frozen=True, kw_only=True)
class ExactMatch(_Best):
    """The share of answers that are right; articles, punctuation and case do not count. From 0 to 100."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """The score of the whole, as `exact_match`."""
        return {"exact_match": self._score(exact, outputs, references)}


@dataclass(frozen=True, kw_only=True)
class SquadF1(_Best):
    """The mean F1 of an answer's words, articles, punctuation and case aside, from 0 to 100."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """The score of the whole, as `squad_f1`."""
        return {"squad_f1": self._score(overlap, outputs, references)}
