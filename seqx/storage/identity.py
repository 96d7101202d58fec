"""Digests of the recipe and the vocabulary of a run, by which files of other runs are recognised."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from seqx.errors import UserError
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import FORMAT, read_as


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The digests that all checkpoints of a run have in common."""

    recipe: str  # without the settings that may change when a run resumes
    vocabulary: str

    def check(self, path: Path, recorded: "Identity | None") -> None:
        """Check that a checkpoint or a model belongs to the run with this identity.

        Args:
            path: the checkpoint or the model, for messages
            recorded: the identity that is recorded in it; None: an earlier version of seqx recorded none

        Raises:
            UserError: it belongs to another run
        """
        if recorded is None or recorded == self:
            return
        part = "recipe" if recorded.recipe != self.recipe else "vocabulary"
        raise UserError(
            f"{path}: belongs to another run, whose {part} differs from that of the run in this folder; "
            "move it away, and run the same command again"
        )


@dataclass(frozen=True, kw_only=True)
class IdentityFile:
    """The content of `identity.json` in a run folder."""

    made_from: Identity
    scores: str | None = None  # the SHA-256 of `scores.json`, once the run is finished

    @classmethod
    def read(cls, file: Path) -> "IdentityFile | None":
        """Read the file; return None if it is missing."""
        return read_as(_IDENTITY_FILE, file) if file.is_file() else None

    def write(self, file: Path) -> None:
        """Write the file."""
        write_atomically(file, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")


_IDENTITY_FILE = TypeAdapter(IdentityFile)


@dataclass(frozen=True, kw_only=True)
class _Model:
    """The field of `model.json` that this module reads; earlier versions of seqx did not write it."""

    made_from: Identity | None = None


_MODEL = TypeAdapter(_Model)


def model_identity(folder: Path) -> Identity | None:
    """Return the identity of the run to which a model belongs; None if none is recorded."""
    file = folder / "model.json"
    return read_as(_MODEL, file).made_from if file.is_file() else None
