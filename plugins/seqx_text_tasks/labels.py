"""The tokenizer `labels`: each label is one token."""

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen
from pydantic import FailFast, TypeAdapter

import seqx

_FILE = "labels.json"
_MAX_BYTES = 1 << 24  # maximum bytes of the file
_LABELS = TypeAdapter(Annotated[list[str], MinLen(1), FailFast()])


class Labels(seqx.Tokenizer):
    """A tokenizer that turns each training label into one symbol; other labels are encoded as UNK.

    Learned labels are in alphabetical order. White space around a label is ignored.
    """

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ()
        self._ids: dict[str, int] = {}

    @property
    def size(self) -> int:
        """The number of labels and special symbols."""
        return seqx.UNK + 1 + len(self.labels)

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Collect the different labels, and save them in `folder`."""
        self._write(sorted({line.strip() for line in lines} - {""}), folder)

    def extend(self, lines: Iterable[str], old: Path, folder: Path) -> None:
        """Add the labels that the list in `old` lacks, in alphabetical order."""
        self.load(old)
        self._write([*self.labels, *sorted({line.strip() for line in lines} - {"", *self.labels})], folder)

    def _write(self, labels: list[str], folder: Path) -> None:
        """Write the labels, and use them."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_text(json.dumps(labels, indent=1, ensure_ascii=False) + "\n", "utf-8")
        self._set_labels(labels)

    def load(self, folder: Path) -> None:
        """Load the labels from `folder`."""
        labels = seqx.read_json_as(_LABELS, folder / _FILE, _MAX_BYTES)
        self._set_labels(labels)

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return the id of the label; return no id if the text is empty."""
        label = text.strip()
        return [self._ids.get(label, seqx.UNK)] if label else []

    def decode(self, ids: Sequence[int]) -> str:
        """Return the labels of ids, separated by spaces; special symbols are skipped."""
        first = seqx.UNK + 1
        return " ".join(self.labels[i - first] for i in ids if i >= first)

    def _set_labels(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._ids = {label: i for i, label in enumerate(self.labels, seqx.UNK + 1)}
