"""Sums over sentences, and the figures that are made of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from seqx_parsing.evalb.sentence import Sentence, Status


@dataclass(kw_only=True)
class Totals:
    """What the sentences have together. Figures are percentages, 0 where there is nothing to divide by."""

    sentences: int = 0
    errors: int = 0
    skipped: int = 0
    judged: int = 0
    matched: int = 0
    crossing: int = 0
    complete: int = 0
    without_crossing: int = 0
    two_or_less: int = 0
    words: int = 0
    tags: int = 0
    gold: Counter[str] = field(default_factory=Counter)  # brackets by label
    test: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)  # of the reference's, those that were matched
    correct: Counter[str] = field(default_factory=Counter)  # of the output's, those that were matched

    @classmethod
    def of(cls, sentences: Iterable[Sentence]) -> "Totals":
        """The totals of some sentences."""
        totals = cls()
        for sentence in sentences:
            totals._add(sentence)
        return totals

    def _add(self, one: Sentence) -> None:
        self.sentences += 1
        self.errors += one.status is Status.ERROR
        self.skipped += one.status is Status.SKIP
        if not one.judged:
            return
        self.judged += 1
        self.complete += one.complete
        self.words += one.words
        self.tags += one.tags
        self.matched += len(one.pairs)
        self.gold.update(one.gold)
        self.test.update(one.test)
        self.found.update(label for label, _ in one.pairs)
        self.correct.update(label for _, label in one.pairs)
        if one.status is Status.VALID:
            self.crossing += one.crossing
            self.without_crossing += one.crossing == 0
            self.two_or_less += one.crossing <= 2

    @property
    def valid(self) -> int:
        """Sentences whose words are those of the reference."""
        return self.sentences - self.errors - self.skipped

    @property
    def brackets(self) -> tuple[int, int]:
        """Of the reference, and of the output."""
        return self.gold.total(), self.test.total()

    @property
    def recall(self) -> float:
        """Of the reference's brackets, those that were matched."""
        return percentage(self.matched, self.gold.total())

    @property
    def precision(self) -> float:
        """Of the output's brackets, those that were matched."""
        return percentage(self.matched, self.test.total())

    @property
    def f1(self) -> float:
        """The harmonic mean of recall and precision."""
        return harmonic(self.recall, self.precision) or 0.0

    @property
    def complete_match(self) -> float:
        """Of the sentences that count, those without any mistake."""
        return percentage(self.complete, self.judged)

    @property
    def tag_accuracy(self) -> float:
        """Of the words, those with the right tag."""
        return percentage(self.tags, self.words)


def percentage(part: int, whole: int) -> float:
    """A share in percent; 0 of nothing."""
    return 100.0 * part / whole if whole else 0.0


def harmonic(recall: float, precision: float) -> float | None:
    """F1, which there is none of if both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else None
