"""The weights that can become the model of a run, with their scores on the development set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import TypeAdapter

from seqx.interfaces.scores import ValidationScore
from seqx.storage.atomic import write_atomically
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import json_text, read_as
from seqx.training.config import Order, Training

COMPARED = "compared.json"
"""The file in a model's folder with the candidates, first the one that became the model."""


@dataclass(frozen=True, kw_only=True)
class WeightsCandidate:
    """Weights that may become the model: the mean of some checkpoints, or one of them.

    Messages show it as in "last checkpoint (update 400): bleu 37.60".
    """

    kind: Literal["average", "last", "best"]
    steps: Annotated[tuple[int, ...], MinLen(1)]
    figure: ValidationScore | None = None  # on the development set; None: not known yet

    def __str__(self) -> str:
        """Return the text that commands print."""
        updates = ", ".join(map(str, self.steps))
        text = f"average (updates {updates})"
        if self.kind != "average":
            text = f"{self.kind} checkpoint (update {updates})"
        return text if self.figure is None else f"{text}: {self.figure}"


@dataclass(frozen=True, kw_only=True)
class _Compared:
    candidates: Annotated[Sequence[WeightsCandidate], MinLen(2)]


_COMPARED = TypeAdapter(_Compared)


def candidates(
    checkpoints: Checkpoints, config: Training, warn: Callable[[str], None]
) -> list[WeightsCandidate]:
    """Return the distinct candidates: the average, the last checkpoint, the best kept checkpoint.

    If no checkpoint was validated, they cannot be compared. Then only the average that the recipe requests is
    returned. `warn` is called with a message about each damaged checkpoint, which is moved away.
    """
    by_steps: dict[tuple[int, ...], WeightsCandidate] = {}
    selections: Sequence[tuple[int, Order]] = ((config.average, config.order), (1, "last"), (1, "best"))
    for count, order in selections:
        steps, _ = checkpoints.average(count, select=order, warn=warn)
        single = len(steps) == 1
        candidate = WeightsCandidate(
            kind=order if single else "average",
            steps=tuple(steps),
            figure=checkpoints.info(steps[0]).figure if single else None,
        )
        by_steps.setdefault(candidate.steps, candidate)
    requested, *others = by_steps.values()
    any_scored = any(candidate.figure is not None for candidate in by_steps.values())
    return [requested, *others] if any_scored else [requested]


def best_first(scored: Sequence[WeightsCandidate]) -> list[WeightsCandidate]:
    """Return scored candidates with the best one first; the first in the list wins a tie."""
    best = reduce(lambda one, other: other if _score_of(other).beats(_score_of(one)) else one, scored)
    return [best, *(candidate for candidate in scored if candidate is not best)]


def comparison_lines(compared: Sequence[WeightsCandidate]) -> Iterator[str]:
    """Yield the lines of a comparison: first the model, then the other candidates."""
    for candidate in compared[:1]:
        yield f"the model is the {candidate} on the development set"
    for candidate in compared[1:]:
        yield f"compared with the {candidate}"


def _score_of(candidate: WeightsCandidate) -> ValidationScore:
    assert candidate.figure is not None, "only scored candidates are compared"
    return candidate.figure


def write(model: Path, compared: Sequence[WeightsCandidate]) -> None:
    """Write the comparison into a model's folder."""
    text = json_text(asdict(_Compared(candidates=compared)), indent=2)
    write_atomically(model / COMPARED, f"{text}\n")


def read(model: Path) -> list[WeightsCandidate]:
    """Read the comparison from a model's folder; return an empty list if there is none.

    Raises:
        UserError: the file cannot be read
    """
    file = model / COMPARED
    return [*read_as(_COMPARED, file).candidates] if file.is_file() else []
