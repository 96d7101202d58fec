"""The weights that can become the model of a run, with their scores on the development set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import Field, TypeAdapter

from seqx.interfaces.scores import ValidationScore
from seqx.storage.atomic import write_atomically
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import json_text, read_as
from seqx.training.config import Order, Training

COMPARED = "compared.json"
"""The file in a model folder that lists all candidates with their scores, the selected one first."""


@dataclass(frozen=True, kw_only=True)
class WeightsCandidate:
    """Weights that may become the model: those of one checkpoint, or the mean of several.

    As text, a candidate is for example "last checkpoint (update 400): bleu 37.60".
    """

    kind: Literal["average", "last", "best"]
    steps: Annotated[tuple[int, ...], MinLen(1)]
    # The score on the development set; None: not known yet. Files keep its older name "figure".
    score: Annotated[ValidationScore | None, Field(alias="figure")] = None

    def __str__(self) -> str:
        """Return the text that commands print."""
        updates = ", ".join(map(str, self.steps))
        text = f"average (updates {updates})"
        if self.kind != "average":
            text = f"{self.kind} checkpoint (update {updates})"
        return text if self.score is None else f"{text}: {self.score}"


@dataclass(frozen=True, kw_only=True)
class _Compared:
    candidates: Annotated[Sequence[WeightsCandidate], MinLen(2)]


_COMPARED = TypeAdapter(_Compared)


def candidates(
    checkpoints: Checkpoints, config: Training, warn: Callable[[str], None]
) -> list[WeightsCandidate]:
    """Return the distinct candidates: the average, the last checkpoint, the best of the kept checkpoints.

    If no checkpoint was validated, candidates cannot be compared. Then return only the average that the
    recipe requests.

    Args:
        checkpoints: the checkpoints of the run
        config: the settings that determine which checkpoints are averaged
        warn: called with a message about each damaged checkpoint, which is moved away
    """
    by_steps: dict[tuple[int, ...], WeightsCandidate] = {}
    selections: Sequence[tuple[int, Order]] = ((config.average, config.order), (1, "last"), (1, "best"))
    selected = checkpoints.select_intact(selections, warn=warn)
    for steps, (_, order) in zip(selected, selections, strict=True):
        single = len(steps) == 1
        candidate = WeightsCandidate(
            kind=order if single else "average",
            steps=tuple(steps),
            score=checkpoints.info(steps[0]).figure if single else None,
        )
        by_steps.setdefault(candidate.steps, candidate)
    requested, *others = by_steps.values()
    any_scored = any(candidate.score is not None for candidate in by_steps.values())
    return [requested, *others] if any_scored else [requested]


def best_first(scored: Sequence[WeightsCandidate]) -> list[WeightsCandidate]:
    """Return scored candidates with the best one first; the first in the list wins a tie."""
    best = reduce(lambda one, other: other if _score_of(other).beats(_score_of(one)) else one, scored)
    return [best, *(candidate for candidate in scored if candidate is not best)]


def comparison_lines(compared: Sequence[WeightsCandidate]) -> Iterator[str]:
    """Yield a line about each compared candidate: first the selected one, then the others."""
    for candidate in compared[:1]:
        yield f"the model is the {candidate} on the development set"
    for candidate in compared[1:]:
        yield f"compared with the {candidate}"


def _score_of(candidate: WeightsCandidate) -> ValidationScore:
    assert candidate.score is not None, "only scored candidates are compared"
    return candidate.score


def write_compared(model: Path, compared: Sequence[WeightsCandidate]) -> None:
    """Write the compared candidates into a model folder."""
    text = json_text(_COMPARED.dump_python(_Compared(candidates=compared), by_alias=True), indent=2)
    write_atomically(model / COMPARED, f"{text}\n")


def read_compared(model: Path) -> list[WeightsCandidate]:
    """Read the compared candidates from a model folder; return an empty list if it has none.

    Raises:
        DamagedError: the file is damaged
    """
    file = model / COMPARED
    advice = "restore it, or remove it: only the comparison of the weights is lost"
    return [*read_as(_COMPARED, file, advice).candidates] if file.is_file() else []
