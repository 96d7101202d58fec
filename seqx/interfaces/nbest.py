"""N-best lists: the answers to one input, with the warnings about them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from seqx.interfaces.values import AnswerWarning, Hypothesis


class Candidate(NamedTuple):
    """One answer to an input: its text, and the hypothesis that the text was made from."""

    text: str
    hypothesis: Hypothesis


class NBest(list[Candidate]):
    """The answers to one input, best first. The list is empty if there is no answer.

    Args:
        candidates: the answers
        warnings: of the task and the predictor, about this input and these answers
    """

    def __init__(self, candidates: Iterable[Candidate] = (), warnings: Iterable[AnswerWarning] = ()) -> None:
        super().__init__(candidates)
        self.warnings: Sequence[AnswerWarning] = tuple(warnings)

    @property
    def text(self) -> str:
        """The text of the best answer; empty if there is none."""
        return self[0].text if self else ""


def sum_warnings(nbests: Iterable[NBest]) -> list[AnswerWarning]:
    """Add up the warnings of several inputs that have the same message, in the order of their appearance."""
    sums: dict[str, tuple[int, int]] = {}
    for nbest in nbests:
        for warning in nbest.warnings:
            count, total = sums.get(warning.message, (0, 0))
            sums[warning.message] = count + warning.count, total + warning.total
    return [AnswerWarning(message, *both) for message, both in sums.items()]


def distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates, best first, without those that have the same text as a better one."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.text, candidate)
    return [*first.values()]
