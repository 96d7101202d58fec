"""Record digests of a run's text when it begins, to detect later changes of the text."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx.data.store import Store
from seqx.errors import UserError
from seqx.interfaces.rows import Row, row_texts
from seqx.interfaces.task import Split, Task
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import read_as

HELD_OUT = ("dev", "test")
"""The splits that are read again whenever a model is scored."""


def digest(rows: Iterable[Row]) -> str:
    """Return the SHA-256 of rows, which depends on their order."""
    sha256 = hashlib.sha256()
    for row in rows:
        sha256.update(json.dumps(row_texts(row)).encode() + b"\n")
    return sha256.hexdigest()


class _FingerprintFile(TypedDict):
    sha256: Mapping[str, str]


_FINGERPRINT_FILE = TypeAdapter(_FingerprintFile)


def is_recorded(file: Path, split: Split) -> bool | None:
    """Return true if a split has the text whose digest a run has recorded; None if it has recorded none."""
    recorded = read_as(_FINGERPRINT_FILE, file)["sha256"].get(split.name) if file.is_file() else None
    return recorded == digest(split.rows) if recorded else None


class DataFingerprint:
    """The SHA-256 of each split that a run reads, in a JSON file of its folder.

    Args:
        file: the first start of a run writes it, later starts compare with it
        task: reads the held-out splits
        store: the training examples
    """

    def __init__(self, file: Path, task: Task, store: Store) -> None:
        self._file = file
        self._task = task
        self._store = store
        self._digests: dict[str, str] = {}

    def check_all(self) -> None:
        """Read all splits, and compare them with earlier starts of the run, or write the file.

        Raises:
            UserError: a split has changed since the run began
        """
        held_out = [split for split in HELD_OUT if split in self._task.available]
        now = {"train": self._store.digest, **{split: digest(self._task.rows(split)) for split in held_out}}
        self._digests = {**now, **self._recorded()}
        for split, value in now.items():
            self._compare(split, value)
        if not self._file.exists():
            write_atomically(self._file, json.dumps({"format": 1, "sha256": now}, indent=2) + "\n")

    def check_training(self) -> None:
        """Compare the training examples with those of earlier starts of the run; write nothing.

        Raises:
            UserError: they have changed since the run began
        """
        self._digests = {"train": "", **self._recorded()}
        self._compare("train", self._store.digest)

    def check(self, split: Split) -> None:
        """Compare the digest of a held-out split that was read again. Call `check_all` first.

        Raises:
            UserError: the split has changed since the run began
        """
        self._compare(split.name, digest(split.rows))

    def _recorded(self) -> Mapping[str, str]:
        """Return the digests of earlier starts of the run; empty if there was none."""
        return read_as(_FINGERPRINT_FILE, self._file)["sha256"] if self._file.exists() else {}

    def _compare(self, split: str, current: str) -> None:
        recorded = self._digests[split]
        # Stores of earlier versions of seqx have no digests.
        if current and recorded and current != recorded:
            raise UserError(
                f"{self._file}: the text of {split} has changed since this run began (its files, or the code "
                "that prepares them); restore it and run the same command again, or choose another "
                "folder (--folder)"
            )
