"""The metrics of SQuAD for question answering (Rajpurkar et al. 2016, section 6.1)."""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import seqx

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> list[str]:
    """Return the words of an answer in lower case, without ASCII punctuation and articles."""
    text = answer.lower().translate(_PUNCTUATION)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def exact(output: str, reference: str) -> float:
    """Return 1 if output and reference have the same words in the same order, else 0."""
    return float(normalized(output) == normalized(reference))


def overlap(output: str, reference: str) -> float:
    """Return the F1 of the words. If one of the two has no words, return 1 if neither has any, else 0.

    See Rajpurkar et al. 2018 for questions without an answer.
    """
    answer, gold = normalized(output), normalized(reference)
    if not answer or not gold:
        return float(answer == gold)
    return 2 * (Counter(answer) & Counter(gold)).total() / (len(answer) + len(gold))


@dataclass(frozen=True, kw_only=True)
class _BestAnswerMetric(seqx.Metric):
    """Mean score over questions; each output is compared with the reference answer that fits best.

    Args:
        between: the separator of several correct answers in a reference, such as "|"; null: a reference is
            a single answer
    """

    between: str | None = None

    def __post_init__(self) -> None:
        if self.between == "":
            raise ValueError("between is empty; set the separator of answers, or null if there is one answer")

    def _score(
        self, measure: Callable[[str, str], float], outputs: Sequence[str], references: Sequence[str]
    ) -> seqx.Score:
        """Return the mean of the outputs' measures, from 0 to 100; the best reference answer counts."""
        values = [
            max(measure(output, answer) for answer in self._answers(reference))
            for output, reference in zip(outputs, references, strict=True)
        ]
        value = 100 * sum(values) / len(values) if values else 0.0
        answers = "one" if self.between is None else f"best of those between {self.between!r}"
        return seqx.Score(
            value=value,
            signature=f"case:lc|punctuation:no|articles:no|answers:{answers}|questions:{len(values)}",
        )

    def _answers(self, reference: str) -> list[str]:
        return [reference] if self.between is None else reference.split(self.between)


@dataclass(frozen=True, kw_only=True)
class ExactMatch(_BestAnswerMetric):
    """Percentage of correct answers; articles, punctuation and case are ignored."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the score of the split, as `exact_match`."""
        return {"exact_match": self._score(exact, outputs, references)}


@dataclass(frozen=True, kw_only=True)
class SquadF1(_BestAnswerMetric):
    """Mean F1 of the answers' words, from 0 to 100; articles, punctuation and case are ignored."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the score of the split, as `squad_f1`."""
        return {"squad_f1": self._score(overlap, outputs, references)}
