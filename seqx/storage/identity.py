"""Digests of the recipe and the vocabulary of a run, which tell its checkpoints from those of other runs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from seqx.errors import UserError
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import FORMAT, read_as


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The digests of the recipe and the vocabulary on which all checkpoints of a run depend."""

    recipe: str  # without the settings that may change when a run continues
    vocabulary: str

    def check(self, path: Path, found: "Identity | None") -> None:
        """Check that this run made the file or folder at `path`; `found` is None if it has no identity.

        Raises:
            UserError: another run made it
        """
        if found is None or found == self:
            return
        part = "recipe" if found.recipe != self.recipe else "vocabulary"
        raise UserError(
            f"{path}: was made by another run, whose {part} differs from that of the run in this folder; "
            "move it away, and run the same command again"
        )


@dataclass(frozen=True, kw_only=True)
class IdentityFile:
    """The content of `identity.json` in a run's folder."""

    made_from: Identity
    scores: str | None = None  # the SHA-256 of its `scores.json`, once the run is finished

    @classmethod
    def read(cls, file: Path) -> "IdentityFile | None":
        """Read a file; return None if it is missing."""
        return read_as(_IDENTITY_FILE, file) if file.is_file() else None

    def write(self, file: Path) -> None:
        """Write a file."""
        write_atomically(file, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")


_IDENTITY_FILE = TypeAdapter(IdentityFile)


@dataclass(frozen=True, kw_only=True)
class _Model:
    """The identity of the run in `model.json`; earlier versions of seqx did not write it."""

    made_from: Identity | None = None


_MODEL = TypeAdapter(_Model)


def model_identity(folder: Path) -> Identity | None:
    """Return the identity of the run that made a model; None if the model does not contain it."""
    file = folder / "model.json"
    return read_as(_MODEL, file).made_from if file.is_file() else None
