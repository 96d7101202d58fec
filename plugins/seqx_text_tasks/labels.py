"""The tokenizer `labels`, and the grammar of a single label."""

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from annotated_types import MinLen
from pydantic import FailFast, TypeAdapter
from torch import Tensor

import seqx

_FILE = "labels.json"
_MAX_BYTES = 1 << 24  # maximum bytes of the file
_LABELS = TypeAdapter(Annotated[list[str], MinLen(1), FailFast()])


class Labels(seqx.Tokenizer):
    """A tokenizer that turns each training label into one symbol; other labels are encoded as UNK.

    Labels are in alphabetical order. White space around a label is ignored.
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
        labels = sorted({line.strip() for line in lines} - {""})
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


class LabelState(NamedTuple):
    """The state of `OneLabel`."""

    labelled: Tensor  # [N] bool: the label has been written


class OneLabel(seqx.Grammar):
    """The grammar of one label followed by EOS."""

    def __init__(self, size: int) -> None:
        self.size = size

    def start(self, rows: int, max_lengths: Tensor) -> LabelState:
        """Return the state of `rows` empty hypotheses."""
        return LabelState(torch.zeros(rows, dtype=torch.bool, device=max_lengths.device))

    def allowed(self, state: LabelState) -> Tensor:
        """Return the allowed symbols, [N, V] bool: any label at first, then EOS."""
        symbols = torch.arange(self.size, device=state.labelled.device)
        labelled = state.labelled[:, None]
        return torch.where(labelled, symbols == seqx.EOS, symbols > seqx.UNK)

    def advance(self, state: LabelState, tokens: Tensor) -> LabelState:
        """Return the state after one more token per hypothesis, [N] int64."""
        return LabelState(state.labelled | (tokens > seqx.UNK))
