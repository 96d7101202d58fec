"""What a run's text was when it began, so that it is the same whenever it is read again."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx.data.store import Store
from seqx.errors import UserError
from seqx.interfaces.text import Task
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import read_as

HELD_OUT = ("dev", "test")
"""What is read again whenever a model is scored."""


def digest(task: Task, split: str) -> str:
    """The SHA-256 of the rows of a split, as they are now."""
    found = hashlib.sha256()
    for row in task.rows(split):
        found.update(json.dumps(row).encode() + b"\n")
    return found.hexdigest()


class _Kept(TypedDict):
    sha256: Mapping[str, str]


_KEPT = TypeAdapter(_Kept)


class DataFingerprint:
    """The digests of what a run reads, in a JSON file of its folder.

    Args:
        file: written when a run begins; later starts must find the same
        task: reads the held-out splits
        store: the training examples

    Raises:
        UserError: an earlier start had other text
    """

    def __init__(self, file: Path, task: Task, store: Store) -> None:
        self.file = file
        self.task = task
        now = {"train": store.digest, **{s: digest(task, s) for s in HELD_OUT if s in task.available}}
        self._digests = {**now, **(read_as(_KEPT, file)["sha256"] if file.exists() else {})}
        for split, found in now.items():
            self._compare(split, found)
        if not file.exists():
            write_atomically(file, json.dumps({"format": 1, "sha256": now}, indent=2) + "\n")

    def check(self, split: str) -> None:
        """Read a held-out split, and compare.

        Raises:
            UserError: it is not what it was when the run began
        """
        self._compare(split, digest(self.task, split))

    def _compare(self, split: str, now: str) -> None:
        before = self._digests[split]
        # Stores of earlier versions of seqx have no digests.
        if now and before and now != before:
            raise UserError(
                f"{self.file}: the text of {split} is not what it was when this run began (its files, or "
                "what prepares them, changed); put it back, and the same command goes on; "
                "or choose another --folder"
            )
