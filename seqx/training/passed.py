"""The batches that a run does without, kept where a later start finds them."""

import json
import shutil
from collections.abc import Set as AbstractSet
from dataclasses import astuple
from pathlib import Path

from seqx.checkpoint import Checkpoints, read_json
from seqx.data.batches import Position
from seqx.errors import UserError
from seqx.files import whole_file
from seqx.training.watch import Trouble


class PassedOver:
    """How often a run went back to a checkpoint, and which batches it passes over since; a JSON file.

    It is written when the checkpoints from after the trouble are gone: a run that is killed before that meets
    the same trouble again, and one that is killed afterwards finds it here.

    Raises:
        UserError: the file cannot be read
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        found = read_json(file) if file.exists() else {"returns": []}
        try:
            self._returns = [dict(gone) for gone in found["returns"]]
            self._positions = {Position(*at) for gone in self._returns for at in gone["batches"]}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{file}: cannot be read ({type(error).__name__}: {error}); put back what the run wrote"
            ) from None

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

    def add(self, trouble: Trouble, *, back_to: int, said: str, keep: bool = True) -> None:
        """Pass over the batches of all updates that were trouble, and write that, if it is to be kept."""
        batches = [mark.at for mark in trouble.marks]
        self._positions.update(batches)
        self._returns.append(
            {
                "why": trouble.kind,
                "from": trouble.marks[-1].step,
                "to": back_to,
                "said": said,
                "batches": [list(astuple(position)) for position in batches],
            }
        )
        if keep:
            whole_file(self.file, json.dumps({"format": 1, "returns": self._returns}, indent=2) + "\n")


def forget_after(step: int, checkpoints: Checkpoints) -> None:
    """Remove the checkpoints of later updates, the newest first: what is left is always a run's beginning."""
    for later in reversed(checkpoints.steps()):
        if later > step:
            gone = checkpoints.folder / f".{later:08}.old"  # out of sight first
            checkpoints.path(later).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
