"""Digests of the recipe and the vocabulary of a run, to refuse checkpoints and models of other runs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from seqx.errors import UserError
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import FORMAT, read_as


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The digests of a run, which are recorded in its checkpoints and its model."""

    recipe: str  # of the recipe without the settings that may change when a run resumes
    vocabulary: str

    def check(self, path: Path, recorded: "Identity | None") -> None:
        """Check that a checkpoint or a model belongs to the run with this identity.

        Args:
            path: the checkpoint or the model, for the message
            recorded: the identity in the checkpoint or the model; None: an earlier version of seqx wrote it

        Raises:
            UserError: it belongs to another run
        """
        if recorded is None or recorded == self:
            return
        part = "recipe" if recorded.recipe != self.recipe else "vocabulary"
        raise UserError(
            f"{path}: belongs to another run, whose {part} differs from that of the run in this folder; "
            "move it to another folder, and run the same command again"
        )


@dataclass(frozen=True, kw_only=True)
class IdentityFile:
    """The content of `identity.json` in a run folder."""

    made_from: Identity
    scores: str | None = None  # the SHA-256 of `scores.json`, once the run is finished

    @classmethod
    def read(cls, file: Path) -> "IdentityFile | None":
        """Read the file; return None if it is missing.

        Raises:
            DamagedError: the file is damaged
        """
        advice = (
            "restore it, or remove it: seqx then computes the digests from recipe.yaml and the vocabulary"
        )
        return read_as(_IDENTITY_FILE, file, advice) if file.is_file() else None

    def write(self, file: Path) -> None:
        """Write the file."""
        write_atomically(file, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")


_IDENTITY_FILE = TypeAdapter(IdentityFile)


@dataclass(frozen=True, kw_only=True)
class _ModelIdentity:
    """The field of `model.json` with the identity; earlier versions of seqx did not write it."""

    made_from: Identity | None = None


_MODEL_IDENTITY = TypeAdapter(_ModelIdentity)


def model_identity(folder: Path) -> Identity | None:
    """Return the identity of the run to which a model belongs; None if none is recorded."""
    file = folder / "model.json"
    return read_as(_MODEL_IDENTITY, file).made_from if file.is_file() else None
