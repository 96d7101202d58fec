"""Scores of parts of a split: by the length of the input, and by its rarest word."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import seqx
from seqx_runs.run_answers import RunAnswers

LENGTHS = (5, 10, 15, 20, 30, 40, 60)
"""The maximum number of words of each part, except the last."""

FREQUENCIES = (0, 4, 19, 99, 999)
"""The maximum training frequency of the rarest word of each part, except the last."""

MAX_ROWS, MAX_SECONDS = 200_000, 10.0
"""The limits after which counting the words of training rows stops; reading the corpus may take as long."""

_MIN_INPUTS = 10  # of a part with a bar
_BLOCK = 1_000  # rows that are converted to inputs at once


@dataclass(frozen=True, kw_only=True)
class Part:
    """The scores of the answers to some inputs."""

    name: str
    count: int
    scores: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """The scores of the parts of a split."""

    title: str
    names: Sequence[str]  # of the scores
    parts: Sequence[Part]
    note: str
    unseen: Part | None = None  # the inputs with a word that no training input has, if that is known

    def has_bar(self, part: Part) -> bool:
        """Return true if a bar shows the first score of a part. The score of a few inputs would mislead."""
        return part.count >= _MIN_INPUTS and bool(part.scores)

    @property
    def highest(self) -> float:
        """The highest value that a bar shows."""
        return max((part.scores[0] for part in self.parts if self.has_bar(part)), default=0.0) or 1.0


def by_length(answers: RunAnswers) -> Breakdown | None:
    """Return the scores by the number of words of the input; None if parts cannot be scored."""
    lengths = [len(answer.input.split()) for answer in answers.evaluation.answers]
    return _breakdown(answers, "Score by length of the input", lengths, LENGTHS, "words", "")


def by_rarest_word(answers: RunAnswers) -> Breakdown | None:
    """Return the scores by the training frequency of the rarest word of the input; None if it is unknown."""
    try:
        counts, rows, is_complete = _training_words(answers.task)
    except seqx.UserError:
        return None
    if not counts:
        return None
    rarest = [min((counts[word] for word in a.input.split()), default=0) for a in answers.evaluation.answers]
    counted = "all" if is_complete else "the first"
    note = f"Times that the word occurs in the inputs of {counted} {rows:,} training rows."
    found = _breakdown(answers, "Score by rarest word of the input", rarest, FREQUENCIES, "times", note)
    if found is None or not is_complete or min(rarest) > 0:
        return found
    return replace(found, unseen=found.parts[0])


def _breakdown(
    answers: RunAnswers, title: str, values: Sequence[int], limits: Sequence[int], unit: str, note: str
) -> Breakdown | None:
    if not answers.has_input_per_row or not values:
        return None
    members: dict[int, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        members[sum(value > limit for limit in limits)].append(index)
    names = [*answers.scores_of(range(1))][:3]
    parts = []
    for number in sorted(members):
        scores = answers.scores_of(members[number])
        name = f"{_range(number, limits)} {unit}"
        parts.append(
            Part(
                name=name,
                count=len(members[number]),
                scores=[scores[each].value for each in names if each in scores],
            )
        )
    return Breakdown(title=title, names=names, parts=parts, note=note)


def _range(number: int, limits: Sequence[int]) -> str:
    low = limits[number - 1] + 1 if number else 0
    if number == len(limits):
        return f"{low:,} or more"
    high = limits[number]
    return (
        f"up to {high:,}" if number == 0 and high else f"{low:,}" if low == high else f"{low:,} to {high:,}"
    )


def _training_words(task: seqx.Task) -> tuple[Counter[str], int, bool]:
    """Count the words in the inputs of training rows.

    Returns:
        the counts, the number of rows, and true if these are all rows; no counts if the inputs are no texts,
            or if reading the corpus takes longer than `MAX_SECONDS`
    """
    try:
        task.fetch(seqx.default_cache() / "corpora", _limited(MAX_SECONDS), splits=("train",))
    except _OutOfTimeError:
        return Counter(), 0, False
    counts, number, end = Counter[str](), 0, time.monotonic() + MAX_SECONDS
    rows = task.rows("train")
    while block := [*islice(rows, _BLOCK)]:
        number += len(block)
        for text in task.inputs(seqx.Split("train", block)):
            if not isinstance(text, str):
                return Counter(), 0, False
            counts.update(text.split())
        if number >= MAX_ROWS or time.monotonic() > end:
            return counts, number, next(rows, None) is None
    return counts, number, True


class _OutOfTimeError(Exception):
    """Ends the reading of a corpus. It is no OSError, which corpora take for a failed read or download."""


def _limited(seconds: float) -> seqx.ProgressReporter:
    """Return a function that raises `_OutOfTimeError` if progress is reported after so many seconds."""
    end = time.monotonic() + seconds

    def report(_activity: str, _fraction: float | None) -> None:
        if time.monotonic() > end:
            raise _OutOfTimeError

    return report
