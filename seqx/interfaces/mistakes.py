"""The mistakes in the answers of a model, as tasks describe them for reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Marks = Mapping[str, Sequence[tuple[int, int]]]
"""The parts of the texts "input", "output" and "reference" that a mistake concerns: ranges of characters."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One mistake: the answer that has it, and its details.

    Args:
        index: the number of the answer, from 0
        detail: the part of the answer that is wrong, in a few words; empty: the whole answer
        marks: the parts of the texts that the mistake concerns: for "input", "output" and "reference", ranges
            of characters
        reference: the reference with which the output was compared; None: the first one of the answer
    """

    index: int
    detail: str = ""
    marks: Marks = field(default_factory=dict)
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class MistakeGroup:
    """Mistakes of the same kind.

    Args:
        name: the mistake in a few words, such as "repeated phrase"
        category: groups of the same category are shown together, such as "length" or "labels"
        count: the number of mistakes
        total: the number of cases in which the mistake was possible
        unit: the cases, in the plural, such as "answers" or "NP brackets of references"
        examples: some of the mistakes
    """

    name: str
    category: str
    count: int
    total: int
    unit: str
    examples: Sequence[Mistake] = ()


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A drawing of an answer or of its reference, in which their differences are marked.

    Args:
        title: the caption, such as "Reference"
        svg: an SVG element without scripts, whose colour is `currentColor`; parts of the class `wrong` are
            marked by the page that shows the drawing
        text: the same content as text, for readers who cannot see the drawing
    """

    title: str
    svg: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """A table about the answers of a model, such as the scores of each label.

    Args:
        title: the caption
        header: the names of the columns
        rows: a cell for each column of each row; numbers are aligned on the right
        note: an explanation; empty: none
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    note: str = ""
