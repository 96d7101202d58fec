"""Sums of counts over sentences, and the scores that are computed from them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from seqx_parsing.evalb.sentence import SentenceCounts, Status


@dataclass(kw_only=True)
class Totals:
    """Sums over sentences. Scores are percentages, 0 if the denominator is 0."""

    sentences: int = 0
    errors: int = 0
    skipped: int = 0
    counted: int = 0  # sentences that the counts below contain
    matched: int = 0  # brackets
    crossing: int = 0  # brackets of outputs that cross one of the reference
    complete: int = 0  # sentences whose brackets all match
    without_crossing: int = 0  # valid sentences without crossing brackets
    at_most_two_crossings: int = 0  # valid sentences
    words: int = 0
    tags: int = 0  # words with the correct tag
    gold: Counter[str] = field(default_factory=Counter)  # brackets of references by label
    test: Counter[str] = field(default_factory=Counter)  # brackets of outputs by label
    matched_gold: Counter[str] = field(default_factory=Counter)  # matched brackets by the reference's label
    matched_test: Counter[str] = field(default_factory=Counter)  # matched brackets by the output's label

    @classmethod
    def of(cls, sentences: Iterable[SentenceCounts]) -> "Totals":
        """Add up the counts of sentences."""
        totals = cls()
        for sentence in sentences:
            totals._add(sentence)
        return totals

    def _add(self, sentence: SentenceCounts) -> None:
        self.sentences += 1
        self.errors += sentence.status is Status.ERROR
        self.skipped += sentence.status is Status.SKIP
        if not sentence.counted:
            return
        self.counted += 1
        self.complete += sentence.complete
        self.words += sentence.words
        self.tags += sentence.tags
        self.matched += len(sentence.pairs)
        self.gold.update(sentence.gold)
        self.test.update(sentence.test)
        self.matched_gold.update(label for label, _ in sentence.pairs)
        self.matched_test.update(label for _, label in sentence.pairs)
        if sentence.status is Status.VALID:
            self.crossing += sentence.crossing
            self.without_crossing += sentence.crossing == 0
            self.at_most_two_crossings += sentence.crossing <= 2

    @property
    def valid(self) -> int:
        """The number of sentences with the same words as their reference."""
        return self.sentences - self.errors - self.skipped

    @property
    def brackets(self) -> tuple[int, int]:
        """The number of brackets of the reference, and of the output."""
        return self.gold.total(), self.test.total()

    @property
    def recall(self) -> float:
        """The percentage of the reference's brackets that were matched."""
        return percentage(self.matched, self.gold.total())

    @property
    def precision(self) -> float:
        """The percentage of the output's brackets that were matched."""
        return percentage(self.matched, self.test.total())

    @property
    def f1(self) -> float:
        """The harmonic mean of recall and precision."""
        return harmonic(self.recall, self.precision) or 0.0

    @property
    def complete_match(self) -> float:
        """The percentage of counted sentences whose brackets all match."""
        return percentage(self.complete, self.counted)

    @property
    def tag_accuracy(self) -> float:
        """The percentage of words with the correct tag."""
        return percentage(self.tags, self.words)


def percentage(part: int, whole: int) -> float:
    """Return a percentage; 0 if the whole is 0."""
    return 100.0 * part / whole if whole else 0.0


def harmonic(recall: float, precision: float) -> float | None:
    """Return F1, or None if recall and precision are both 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else None
