"""The batches that a run does without, kept where a later start finds them."""

import json
import shutil
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx.data.batches import Position
from seqx.errors import DamagedError, UserError
from seqx.storage.atomic import write_atomically
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import read_as
from seqx.training.recovery.divergence import Divergence

_Return = TypedDict(
    "_Return",
    {"why": str, "from": int, "to": int, "said": NotRequired[str], "batches": list[tuple[int, int]]},
)


class _Kept(TypedDict):
    returns: list[_Return]


_KEPT = TypeAdapter(_Kept)


class SkippedBatches:
    """How often a run went back to a checkpoint, and which batches it passes over since; a JSON file.

    It is written when the checkpoints from after the trouble are gone: a run that is killed before that meets
    the same trouble again, and one that is killed afterwards finds it here.

    Raises:
        UserError: the file cannot be read
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._returns: list[_Return] = []
        if file.exists():
            try:
                self._returns = read_as(_KEPT, file)["returns"]
            except DamagedError as error:
                raise UserError(f"{error}; put back what the run wrote") from None
        self._positions = {Position(*at) for gone in self._returns for at in gone["batches"]}

    @property
    def times(self) -> int:
        """How often the run went back."""
        return len(self._returns)

    @property
    def positions(self) -> AbstractSet[Position]:
        """Where the batches are."""
        return self._positions

    def said(self, step: int) -> list[str]:
        """What was said of each return to the checkpoint of a step."""
        return [gone["said"] for gone in self._returns if gone["to"] == step and "said" in gone]

    def add(self, trouble: Divergence, *, back_to: int, said: str, keep: bool = True) -> None:
        """Pass over the batches of all updates that were trouble, and write that, if it is to be kept."""
        batches = [mark.at for mark in trouble.marks]
        self._positions.update(batches)
        self._returns.append(
            {
                "why": trouble.kind,
                "from": trouble.marks[-1].step,
                "to": back_to,
                "said": said,
                "batches": [(at.epoch, at.index) for at in batches],
            }
        )
        if keep:
            write_atomically(self.file, json.dumps({"format": 1, "returns": self._returns}, indent=2) + "\n")


def forget_after(step: int, checkpoints: Checkpoints) -> None:
    """Remove the checkpoints of later updates, the newest first: what is left is always a run's beginning."""
    checkpoints.check()
    for later in reversed(checkpoints.steps()):
        if later > step:
            gone = checkpoints.folder / f".{later:08}.old"  # out of sight first
            checkpoints.path(later).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
