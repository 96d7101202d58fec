"""What a run's text was when it began, so that it is the same whenever it is read again."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx.data.store import Store
from seqx.errors import UserError
from seqx.interfaces.text import Split, Task
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import read_as

HELD_OUT = ("dev", "test")
"""What is read again whenever a model is scored."""


def digest(rows: Iterable[tuple[str, ...]]) -> str:
    """Return the SHA-256 of rows."""
    sha256 = hashlib.sha256()
    for row in rows:
        sha256.update(json.dumps(row).encode() + b"\n")
    return sha256.hexdigest()


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
        now = {"train": store.digest, **{s: digest(task.rows(s)) for s in HELD_OUT if s in task.available}}
        self._digests = {**now, **(read_as(_KEPT, file)["sha256"] if file.exists() else {})}
        for split, found in now.items():
            self._compare(split, found)
        if not file.exists():
            write_atomically(file, json.dumps({"format": 1, "sha256": now}, indent=2) + "\n")

    def check(self, split: Split) -> None:
        """Compare the rows of a held-out split with those that the run began with.

        Raises:
            UserError: they differ
        """
        self._compare(split.name, digest(split.rows))

    def _compare(self, split: str, now: str) -> None:
        before = self._digests[split]
        # Stores of earlier versions of seqx have no digests.
        if now and before and now != before:
            raise UserError(
                f"{self.file}: the text of {split} is not what it was when this run began (its files, or "
                "what prepares them, changed); put it back, and the same command goes on; "
                "or choose another --folder"
            )
