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

    It is written before the run goes back, so that a run that is killed then goes the same way.

    Raises:
        UserError: the file cannot be read
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._returns = read_json(file)["returns"] if file.exists() else []
        try:
            self._positions = {Position(*at) for gone in self._returns for at in gone["batches"]}
        except (KeyError, TypeError) as error:
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

    def add(self, trouble: Trouble, *, back_to: int, keep: bool = True) -> None:
        """Pass over the batches of all updates that were trouble, and write that, if it is to be kept."""
        batches = [mark.at for mark in trouble.marks]
        self._positions.update(batches)
        self._returns.append(
            {
                "why": trouble.kind,
                "from": trouble.marks[-1].step,
                "to": back_to,
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
