"""Compare one sentence with its reference as EVALB does."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from seqx_parsing.evalb.brackets import BracketedLine, MalformedError, Span, read_line, restore_quotes
from seqx_parsing.evalb.parameters import Parameters


class Status(IntEnum):
    """The status of a sentence, with EVALB's numbers."""

    VALID = 0
    ERROR = 1  # its words differ from the reference, or it is not a tree
    SKIP = 2  # it has no words


@dataclass(frozen=True, kw_only=True, slots=True)
class SentenceCounts:
    """The counts of one sentence."""

    status: Status
    length: int  # words of the reference, including punctuation; compared with CUTOFF_LEN
    counted: bool  # true if the counts below are part of the totals
    gold: Sequence[str] = ()  # labels of the reference's brackets
    test: Sequence[str] = ()  # labels of the output's brackets
    pairs: Sequence[tuple[str, str]] = ()  # matched brackets: the reference's label and the output's
    crossing: int = 0  # brackets of the output that cross a bracket of the reference
    words: int = 0  # words of the reference that are not deleted
    tags: int = 0  # words with the correct tag
    reason: str = ""  # the reason of an error or a skipped sentence

    @property
    def complete(self) -> bool:
        """True if every bracket of the reference and of the output matches."""
        return self.status is Status.VALID and len(self.gold) == len(self.test) == len(self.pairs)


def compare(gold: BracketedLine, output: str, parameters: Parameters, *, strict: bool) -> SentenceCounts:
    """Compare an output with the reference.

    If `strict`, a sentence that EVALB does not count is counted, without matched brackets and correct tags.
    All brackets of the reference count, and those of the output if it can be read. A sentence is still not
    counted if neither the reference nor the output has words to score.
    """
    try:
        test, reason, status = read_line(output, parameters), "", Status.SKIP
    except MalformedError as error:
        test, reason = BracketedLine(), f"no tree: {error}"
        status = Status.SKIP if error.wordless else Status.ERROR
    if not reason and not test.words:
        reason = "no words to score" if output.strip() else "no tree"
    if not reason:
        reason = _word_difference(gold, test, parameters)
        status = Status.ERROR
    if not reason:
        return _counts(gold, test, parameters)
    if not strict or not (gold.words or test.words):
        return SentenceCounts(status=status, length=gold.length, counted=False, reason=reason)
    return SentenceCounts(
        status=status,
        length=gold.length,
        counted=True,
        gold=[label for _, label in gold.scored(parameters)],
        test=[label for _, label in test.scored(parameters)],
        words=len(gold.words),
        reason=reason,
    )


def _word_difference(gold: BracketedLine, test: BracketedLine, parameters: Parameters) -> str:
    """Return a description of the difference between the words, or "" if they are equal.

    Quotation marks that were deleted on one side only are restored first.
    """
    if len(gold.words) != len(test.words):
        restore_quotes(gold, test, parameters)
    if len(gold.words) != len(test.words):
        empty = any(not leaf.word for leaf in (*gold.words, *test.words))
        return (
            f"{len(test.words)} words to score, the reference has {len(gold.words)}"
            + "; EVALB reads an empty word where a bracket contains only white space, as in (ADVP )" * empty
        )
    for one, other in zip(gold.words, test.words, strict=True):
        if not parameters.same_word(one.word, other.word):
            return f"the word {other.word!r}, the reference has {one.word!r}"
    return ""


def _counts(gold: BracketedLine, test: BracketedLine, parameters: Parameters) -> SentenceCounts:
    expected, written = gold.scored(parameters), test.scored(parameters)
    return SentenceCounts(
        status=Status.VALID,
        length=gold.length,
        counted=True,
        gold=[label for _, label in expected],
        test=[label for _, label in written],
        pairs=_matched(expected, written, parameters),
        crossing=_crossing(expected, written),
        words=len(gold.words),
        tags=sum(
            parameters.same_label(one.tag, other.tag)
            for one, other in zip(gold.words, test.words, strict=True)
        ),
    )


def _matched(
    expected: list[tuple[Span, str]], written: list[tuple[Span, str]], parameters: Parameters
) -> list[tuple[str, str]]:
    """Match each bracket of the reference with the first equal bracket of the output not matched before."""
    unmatched: dict[Span, list[str]] = {}
    for span, label in written:
        unmatched.setdefault(span, []).append(label)
    pairs = []
    for span, label in expected:
        candidates = unmatched.get(span, [])
        for index, other in enumerate(candidates):
            if not parameters.labeled or parameters.same_label(label, other):
                pairs.append((label, candidates.pop(index)))
                break
    return pairs


def _crossing(expected: list[tuple[Span, str]], written: list[tuple[Span, str]]) -> int:
    spans = {span for span, _ in expected}
    # Brackets of the reference do not cross each other, so only other spans need a check.
    return sum(
        any(a < start < b < end or start < a < end < b for a, b in spans)
        for (start, end), _ in written
        if (start, end) not in spans and end - start > 1
    )
