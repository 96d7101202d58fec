"""Labels: a vocabulary of whole texts, and the grammar that lets one of them be written."""

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
_LARGEST = 1 << 24  # its bytes
_LABELS = TypeAdapter(Annotated[list[str], MinLen(1), FailFast()])


class Labels(seqx.Tokenizer):
    """Each text that it has learnt from is one symbol, in alphabetical order; any other is unknown.

    White space around a label is no part of it.
    """

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ()
        self._ids: dict[str, int] = {}

    @property
    def size(self) -> int:
        """The labels and the four special symbols."""
        return seqx.UNK + 1 + len(self.labels)

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Note the different texts."""
        labels = sorted({line.strip() for line in lines} - {""})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_text(json.dumps(labels, indent=1, ensure_ascii=False) + "\n", "utf-8")
        self._use(labels)

    def load(self, folder: Path) -> None:
        """Use the labels in `folder`."""
        labels = seqx.read_json_as(_LABELS, folder / _FILE, _LARGEST)
        self._use(labels)

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """One id; none of an empty text."""
        label = text.strip()
        return [self._ids.get(label, seqx.UNK)] if label else []

    def decode(self, ids: Sequence[int]) -> str:
        """The labels of ids."""
        first = seqx.UNK + 1
        return " ".join(self.labels[i - first] for i in ids if i >= first)

    def _use(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._ids = {label: i for i, label in enumerate(self.labels, seqx.UNK + 1)}


class LabelState(NamedTuple):
    """Where hypotheses stand."""

    labelled: Tensor  # [N] bool, whether the label is written


class OneLabel(seqx.Grammar):
    """A label, then EOS."""

    def __init__(self, size: int) -> None:
        self.size = size

    def start(self, rows: int, limits: Tensor) -> LabelState:
        """No label is written yet."""
        return LabelState(torch.zeros(rows, dtype=torch.bool, device=limits.device))

    def allowed(self, state: LabelState) -> Tensor:
        """Labels before there is one, EOS after it: [N, V] bool."""
        symbols = torch.arange(self.size, device=state.labelled.device)
        labelled = state.labelled[:, None]
        return torch.where(labelled, symbols == seqx.EOS, symbols > seqx.UNK)

    def advance(self, state: LabelState, tokens: Tensor) -> LabelState:
        """After one more token of each hypothesis, [N] int64."""
        return LabelState(state.labelled | (tokens > seqx.UNK))
