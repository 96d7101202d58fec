"""The answers to an input, and their counts."""

from collections import Counter
from collections.abc import Iterable, Mapping

from seqx.interfaces.values import Hypothesis


class Answers(list[tuple[str, Hypothesis]]):
    """The answers to one input, best first; an empty input has none.

    Args:
        found: the answers
        counts: from `Task.counts`; for an input that was split, the sums over its parts
    """

    def __init__(
        self, found: Iterable[tuple[str, Hypothesis]] = (), counts: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(found)
        self.counts: Mapping[str, int] = counts or {}


def summed(every: Iterable[Answers]) -> Counter[str]:
    """Return the sums of the counts of several inputs' answers."""
    sums = Counter[str]()
    for answers in every:
        sums.update(answers.counts)
    return sums


def distinct(answers: Iterable[tuple[str, Hypothesis]]) -> list[tuple[str, Hypothesis]]:
    """Return the answers, best first, without those that have the same text as a better one."""
    first = dict[str, tuple[str, Hypothesis]]()
    for answer in answers:
        first.setdefault(answer[0], answer)
    return [*first.values()]
