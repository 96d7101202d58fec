"""The microbatch size that did not fit into the memory of a device, stored for later starts of the run."""

import json
from pathlib import Path
from typing import Annotated

from annotated_types import Gt
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx.errors import DamagedError, UserError
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import read_as


class _LimitFile(TypedDict):
    processes: int
    places: Annotated[int, Gt(0)]  # the number of padded tokens; files keep its older name "places"


_LIMIT_FILE = TypeAdapter(_LimitFile)


class MicrobatchLimit:
    """The smallest number of padded tokens with which a pass ran out of memory; None: no pass did.

    Args:
        file: the limit is read from it, and `save` writes it; None: nothing is read or written
        ranks: the number of ranks; the limit of a run with another number of ranks is ignored

    Raises:
        UserError: the file cannot be read
    """

    def __init__(self, file: Path | None = None, ranks: int = 1) -> None:
        self._file = file
        self._ranks = ranks
        self.padded_tokens: int | None = None
        if file is not None and file.exists():
            try:
                stored = read_as(_LIMIT_FILE, file)
            except DamagedError as error:
                raise UserError(f"{error}; remove the file") from None
            if stored["processes"] == ranks:
                self.padded_tokens = stored["places"]

    def lower(self, padded_tokens: int) -> None:
        """Record a size that did not fit, unless a smaller one is known."""
        self.padded_tokens = min(padded_tokens, self.padded_tokens or padded_tokens)

    def save(self, padded_tokens: int) -> None:
        """Write a size that did not fit, for the next start."""
        if self._file is not None:
            content = {"format": 1, "processes": self._ranks, "places": padded_tokens}
            write_atomically(self._file, json.dumps(content) + "\n")
