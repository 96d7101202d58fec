"""Places of a part that were too many for the memory of a device, kept where a later start finds them."""

import json
from pathlib import Path
from typing import Annotated

from annotated_types import Gt
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx.errors import DamagedError, UserError
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import read_as


class _Kept(TypedDict):
    processes: int
    places: Annotated[int, Gt(0)]


_KEPT = TypeAdapter(_Kept)


class MicrobatchLimit:
    """A JSON file, written by the device that had too little memory; for as many processes as there were.

    Args:
        file: where it is, once there is one
        processes: how many share an update
    """

    def __init__(self, file: Path, processes: int) -> None:
        self.file = file
        self.processes = processes

    def read(self) -> int | None:
        """What was too many; None: nothing yet.

        Raises:
            UserError: the file cannot be read
        """
        if not self.file.exists():
            return None
        try:
            kept = read_as(_KEPT, self.file)
        except DamagedError as error:
            raise UserError(f"{error}; remove it") from None
        return kept["places"] if kept["processes"] == self.processes else None

    def write(self, places: int) -> None:
        """So many were too many."""
        kept = {"format": 1, "processes": self.processes, "places": places}
        write_atomically(self.file, json.dumps(kept) + "\n")
