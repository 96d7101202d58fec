"""Groups of mistakes in labels: one label instead of another."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from seqx.interfaces.mistakes import Marks, Mistake, MistakeGroup

_MAX_GROUPS, _MAX_EXAMPLES = 30, 20


@dataclass(frozen=True)
class LabelPair:
    """A predicted label and its reference.

    Args:
        index: the number of the answer, from 0
        output: the predicted label
        reference: the correct label
        detail: the labelled part of the answer, such as a word; empty: the whole answer
        marks: the ranges of the labels and of the labelled parts in the texts, see `Mistake`
    """

    index: int
    output: str
    reference: str
    detail: str = ""
    marks: Marks = field(default_factory=dict)


def label_mistakes(pairs: Iterable[LabelPair], unit: str) -> list[MistakeGroup]:
    """Return a group for each pair of different labels, the most frequent first.

    Args:
        pairs: all labels, correct ones included
        unit: what is labelled, in the plural
    """
    totals, found = Counter[str](), defaultdict[tuple[str, str], list[Mistake]](list)
    for pair in pairs:
        totals[pair.reference] += 1
        if pair.output != pair.reference:
            found[pair.reference, pair.output].append(
                Mistake(index=pair.index, detail=pair.detail, marks=pair.marks)
            )
    most_frequent = sorted(found, key=lambda labels: (-len(found[labels]), labels))[:_MAX_GROUPS]
    return [
        MistakeGroup(
            name=f"{output or '(none)'} instead of {reference}",
            category="labels",
            count=len(found[reference, output]),
            total=totals[reference],
            unit=f"{unit} with the label {reference}",
            examples=found[reference, output][:_MAX_EXAMPLES],
        )
        for reference, output in most_frequent
    ]
