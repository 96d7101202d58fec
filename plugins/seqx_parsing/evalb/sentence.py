"""One sentence as EVALB counts it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from seqx_parsing.evalb.brackets import Line, MalformedError, Span, mend_quotes, read_line
from seqx_parsing.evalb.parameters import Parameters


class Status(IntEnum):
    """What became of a sentence; the numbers are EVALB's."""

    VALID = 0
    ERROR = 1  # its words are not those of the reference, or it is no tree
    SKIP = 2  # there are no words


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """What was counted in one sentence."""

    status: Status
    length: int  # words of the reference for the cut-off
    judged: bool  # whether the counts below are part of the totals
    gold: Sequence[str] = ()  # the labels of the reference's brackets
    test: Sequence[str] = ()
    pairs: Sequence[tuple[str, str]] = ()  # brackets that match: the reference's label, the output's
    crossing: int = 0  # brackets of the output that cross one of the reference
    words: int = 0
    tags: int = 0  # words with the right tag
    reason: str = ""  # what is wrong with it

    @property
    def complete(self) -> bool:
        """Whether every bracket is right, and none is missing."""
        return self.status is Status.VALID and len(self.gold) == len(self.test) == len(self.pairs)


def count(gold: Line, output: str, parameters: Parameters, *, strict: bool) -> Sentence:
    """Compare an output with the reference.

    Strictly, a sentence that EVALB leaves out counts with no bracket matched and no tag right: all brackets
    of the reference, and those of the output where it can be read at all. It is left out only if neither side
    has a word to be scored.
    """
    try:
        test, reason, status = read_line(output, parameters), "", Status.SKIP
    except MalformedError as error:
        test, reason = Line(), f"no tree: {error}"
        status = Status.SKIP if error.wordless else Status.ERROR
    if not reason and not test.words:
        reason = "no words to score" if output.strip() else "no tree"
    if not reason:
        reason = _different(gold, test, parameters)
        status = Status.ERROR
    if not reason:
        return _compared(gold, test, parameters)
    if not strict or not (gold.words or test.words):
        return Sentence(status=status, length=gold.length, judged=False, reason=reason)
    return Sentence(
        status=status,
        length=gold.length,
        judged=True,
        gold=[label for _, label in gold.scored(parameters)],
        test=[label for _, label in test.scored(parameters)],
        words=len(gold.words),
        reason=reason,
    )


def _different(gold: Line, test: Line, parameters: Parameters) -> str:
    """Why the sentences are not the same, if they are not; afterwards misread quotes are mended."""
    if len(gold.words) != len(test.words):
        mend_quotes(gold, test, parameters)
    if len(gold.words) != len(test.words):
        empty = any(not leaf.word for leaf in (*gold.words, *test.words))
        return (
            f"{len(test.words)} words to score, the reference has {len(gold.words)}"
            + "; EVALB reads an empty word where a bracket holds nothing but white space, as in (ADVP )"
            * empty
        )
    for one, other in zip(gold.words, test.words, strict=True):
        if not parameters.same_word(one.word, other.word):
            return f"the word {other.word!r}, the reference has {one.word!r}"
    return ""


def _compared(gold: Line, test: Line, parameters: Parameters) -> Sentence:
    right, found = gold.scored(parameters), test.scored(parameters)
    return Sentence(
        status=Status.VALID,
        length=gold.length,
        judged=True,
        gold=[label for _, label in right],
        test=[label for _, label in found],
        pairs=_matched(right, found, parameters),
        crossing=_crossing(right, found),
        words=len(gold.words),
        tags=sum(
            parameters.same_label(one.tag, other.tag)
            for one, other in zip(gold.words, test.words, strict=True)
        ),
    )


def _matched(
    right: list[tuple[Span, str]], found: list[tuple[Span, str]], parameters: Parameters
) -> list[tuple[str, str]]:
    """Each bracket of the reference takes the first equal one that is left, in the order of opening."""
    left: dict[Span, list[str]] = {}
    for span, label in found:
        left.setdefault(span, []).append(label)
    pairs = []
    for span, label in right:
        there = left.get(span, [])
        for place, other in enumerate(there):
            if not parameters.labeled or parameters.same_label(label, other):
                pairs.append((label, there.pop(place)))
                break
    return pairs


def _crossing(right: list[tuple[Span, str]], found: list[tuple[Span, str]]) -> int:
    spans = {span for span, _ in right}
    # a bracket of the reference crosses no other one, so that only new spans can
    return sum(
        any(a < start < b < end or start < a < end < b for a, b in spans)
        for (start, end), _ in found
        if (start, end) not in spans and end - start > 1
    )
