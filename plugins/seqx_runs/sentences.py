"""The best and the worst answers of a run, with their differences from the reference."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import seqx

NUM_EXAMPLES = 5
"""The number of best and of worst answers."""

MAX_CHARACTERS = 8000
"""The maximum number of characters of a shown text."""

MAX_WORDS = 1200
"""The maximum number of words of texts that are compared."""

_SPACE = re.compile(r"(\s+)")


class Span(NamedTuple):
    """A part of a text, and how it differs from the other text."""

    kind: Literal["equal", "extra", "missing"]
    text: str


@dataclass(frozen=True, kw_only=True)
class ScoredAnswer:
    """An answer with its score and its differences from the reference."""

    number: int  # of the input, from 1
    score: float
    input: str
    output: Sequence[Span]
    reference: Sequence[Span]
    drawings: Sequence[seqx.Drawing]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The best and the worst answers by one score."""

    score: str
    best: Sequence[ScoredAnswer]
    worst: Sequence[ScoredAnswer]
    count: int  # of all answers
    tied_best: int  # answers that have the best score
    tied_worst: int  # answers that have the worst score


def rank_answers(task: seqx.Task, answers: Sequence[seqx.Answer]) -> Ranking | None:
    """Return the best and the worst answers by their main scores; None if the task scores no single answers.

    Of answers with equal scores, those with longer inputs come first: they are more informative.
    """
    try:
        scores = task.answer_scores(answers)
    except seqx.UserError:
        return None
    if not answers or not all(scores):
        return None
    name = next(iter(scores[0]))
    main = [of_answer[name] for of_answer in scores]
    ranks = [score.rank for score in main]
    by_length = sorted(range(len(answers)), key=lambda i: -len(answers[i].input))
    worst = sorted(by_length, key=lambda i: ranks[i])[:NUM_EXAMPLES]
    best = [i for i in sorted(by_length, key=lambda i: -ranks[i]) if i not in worst][:NUM_EXAMPLES]
    return Ranking(
        score=name,
        best=[_scored(task, answers[i], i, main[i].value) for i in best],
        worst=[_scored(task, answers[i], i, main[i].value) for i in worst],
        count=len(answers),
        tied_best=ranks.count(max(ranks)),
        tied_worst=ranks.count(min(ranks)),
    )


def _scored(task: seqx.Task, answer: seqx.Answer, index: int, score: float) -> ScoredAnswer:
    output, reference = word_differences(answer.output, answer.reference)
    return ScoredAnswer(
        number=index + 1,
        score=score,
        input=shortened(answer.input),
        output=output,
        reference=reference,
        drawings=task.draw_difference(answer),
    )


def shortened(text: str) -> str:
    """Return at most `MAX_CHARACTERS` characters of a text."""
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def word_differences(output: str, reference: str) -> tuple[list[Span], list[Span]]:
    """Return the spans of an output and of its reference; words that only one of them has are marked."""
    words, expected = (_SPACE.split(shortened(text))[: 2 * MAX_WORDS] for text in (output, reference))
    matcher = difflib.SequenceMatcher(None, words[::2], expected[::2], autojunk=False)
    spans: tuple[list[Span], list[Span]] = [], []
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        for side, texts, first, last in ((0, words, start, end), (1, expected, other_start, other_end)):
            if text := "".join(texts[2 * first : 2 * last - 1]):
                marked: Literal["extra", "missing"] = "missing" if side else "extra"
                spans[side].append(Span("equal" if kind == "equal" else marked, text))
    for side, text in enumerate((output, reference)):
        if len(_SPACE.split(shortened(text))) > 2 * MAX_WORDS:
            spans[side].append(Span("equal", "…"))
    return spans
