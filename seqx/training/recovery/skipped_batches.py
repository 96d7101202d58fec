"""The batches that a run skips after rollbacks, stored for later starts of the run."""

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx.data.loader import Position
from seqx.errors import DamagedError, UserError
from seqx.storage.atomic import write_atomically
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import read_as
from seqx.training.recovery.divergence import Divergence

SKIPPED = "skipped_batches.json"
"""The name of the file with the skipped batches in a run folder. The first rollback writes it."""

OLD_NAME = "passed_over.json"
"""The name of that file in runs of earlier versions of seqx."""

_Rollback = TypedDict(
    "_Rollback",
    {"why": str, "from": int, "to": int, "said": NotRequired[str], "batches": list[tuple[int, int]]},
)


class _SkippedFile(TypedDict):
    returns: list[_Rollback]


_SKIPPED_FILE = TypeAdapter(_SkippedFile)


class UndoneUpdates(NamedTuple):
    """The updates that a rollback has undone."""

    back_to: int  # the step of the checkpoint that was restored
    skipped: AbstractSet[Position]  # the batches that the run had skipped when it made these updates
    earlier: Sequence[int]  # the steps of the checkpoints that earlier rollbacks had restored


class SkippedBatches:
    """The rollbacks of a run, and the batches that it skips after them; a JSON file in its run folder.

    First the checkpoints of later updates are removed, then the file is written. A run that is killed in
    between resumes from the earlier checkpoint, diverges in the same way and rolls back again.

    Args:
        folder: the run folder

    Raises:
        UserError: the file cannot be read
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / SKIPPED
        self._rollbacks: list[_Rollback] = []
        file = self._file if self._file.exists() else folder / OLD_NAME
        if file.exists():
            try:
                self._rollbacks = read_as(_SKIPPED_FILE, file)["returns"]
            except DamagedError as error:
                raise UserError(f"{error}; restore the file as the run wrote it") from None
        self._positions = {Position(*at) for rollback in self._rollbacks for at in rollback["batches"]}

    @property
    def rollbacks(self) -> int:
        """The number of rollbacks so far."""
        return len(self._rollbacks)

    @property
    def restored_steps(self) -> list[int]:
        """The steps of the checkpoints that the rollbacks restored."""
        return [rollback["to"] for rollback in self._rollbacks]

    @property
    def positions(self) -> AbstractSet[Position]:
        """The positions of the batches to skip."""
        return self._positions

    def undone(self, step: int) -> UndoneUpdates | None:
        """Return the updates of the last rollback that undid an update with the number `step`, or None."""
        earlier, found = set[Position](), None
        for number, rollback in enumerate(self._rollbacks):
            if rollback["to"] < step <= rollback["from"]:
                found = UndoneUpdates(rollback["to"], frozenset(earlier), self.restored_steps[:number])
            earlier |= {Position(*at) for at in rollback["batches"]}
        return found

    def messages(self, step: int) -> list[str]:
        """Return the messages about rollbacks to the checkpoint of update `step`."""
        return [
            rollback["said"] for rollback in self._rollbacks if rollback["to"] == step and "said" in rollback
        ]

    def add(self, divergence: Divergence, *, back_to: int, message: str, write: bool = True) -> None:
        """Skip the batches of all updates of a divergence from now on.

        Args:
            divergence: the reason
            back_to: the step of the checkpoint that was restored
            message: the message about the rollback, for users
            write: write the file; false on all ranks except rank 0
        """
        batches = [update.at for update in divergence.updates]
        self._positions.update(batches)
        self._rollbacks.append(
            {
                "why": divergence.kind,
                "from": divergence.updates[-1].step,
                "to": back_to,
                "said": message,
                "batches": [(at.epoch, at.index) for at in batches],
            }
        )
        if write:
            text = json.dumps({"format": 1, "returns": self._rollbacks}, indent=2)
            write_atomically(self._file, f"{text}\n")


def remove_later_checkpoints(step: int, checkpoints: Checkpoints) -> None:
    """Remove the checkpoints of updates after `step`, the newest first.

    If this is interrupted, the checkpoints that are left are the earliest ones, without a gap.
    """
    checkpoints.check()
    checkpoints.remove(later for later in reversed(checkpoints.steps()) if later > step)
