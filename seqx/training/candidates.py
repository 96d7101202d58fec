"""Which weights a run could end with, and how good each of them is on the development set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import TypeAdapter

from seqx.checkpoint import Checkpoints
from seqx.files import whole_file
from seqx.formats import json_text, read_as
from seqx.interfaces.figures import Figure
from seqx.training.settings import Order, Training

COMPARED = "compared.json"
"""In a model's folder, where there was a choice: the candidates, the one that became the model first."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Weights that may become the model: the mean of some checkpoints, or one of them.

    As text it is what a run says of it: "last checkpoint (update 400): bleu 37.60".
    """

    kind: Literal["average", "last", "best"]
    steps: Annotated[tuple[int, ...], MinLen(1)]
    figure: Figure | None = None  # on the development set; None: not known yet

    def __str__(self) -> str:
        """As commands print it."""
        updates = ", ".join(map(str, self.steps))
        what = f"average (updates {updates})"
        if self.kind != "average":
            what = f"{self.kind} checkpoint (update {updates})"
        return what if self.figure is None else f"{what}: {self.figure}"


@dataclass(frozen=True, kw_only=True)
class _Compared:
    candidates: Annotated[Sequence[Candidate], MinLen(2)]


_COMPARED = TypeAdapter(_Compared)


def candidates(checkpoints: Checkpoints, how: Training, tell: Callable[[str], object]) -> list[Candidate]:
    """Return what a run may end with, each once: the average, the last checkpoint, the best of those kept.

    Where no checkpoint was validated there is nothing to compare by, and only what the recipe asks for is
    left. `tell` hears of each checkpoint that is damaged, which is set aside.
    """
    found: dict[tuple[int, ...], Candidate] = {}
    wanted: Sequence[tuple[int, Order]] = ((how.average, how.order), (1, "last"), (1, "best"))
    for count, order in wanted:
        steps, _ = checkpoints.mean(count, choose=order, tell=tell)
        single = len(steps) == 1
        candidate = Candidate(
            kind=order if single else "average",
            steps=tuple(steps),
            figure=checkpoints.about(steps[0]).figure if single else None,
        )
        found.setdefault(candidate.steps, candidate)
    asked, *others = found.values()
    scored = any(candidate.figure is not None for candidate in found.values())
    return [asked, *others] if scored else [asked]


def in_order(found: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates whose figures are known, the best one first; of equal ones that is the earliest."""
    best = reduce(lambda one, other: other if _figure(other).beats(_figure(one)) else one, found)
    return [best, *(candidate for candidate in found if candidate is not best)]


def told(compared: Sequence[Candidate]) -> Iterator[str]:
    """Yield what is said of a comparison, a line each: the model, and what it is not."""
    for candidate in compared[:1]:
        yield f"the model is the {candidate} on the development set"
    for candidate in compared[1:]:
        yield f"compared with the {candidate}"


def _figure(candidate: Candidate) -> Figure:
    assert candidate.figure is not None, "only what was scored is compared"
    return candidate.figure


def write(model: Path, compared: Sequence[Candidate]) -> None:
    """Write the comparison into a model's folder."""
    text = json_text(asdict(_Compared(candidates=compared)), indent=2)
    whole_file(model / COMPARED, f"{text}\n")


def read(model: Path) -> list[Candidate]:
    """Read the comparison from a model's folder; empty where there was no choice.

    Raises:
        UserError: the file cannot be read
    """
    file = model / COMPARED
    return [*read_as(_COMPARED, file).candidates] if file.is_file() else []
