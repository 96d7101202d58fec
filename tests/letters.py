"""A corpus in memory, and a tokenizer whose ids are code points of characters."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import seqx


class Rows(seqx.Corpus):
    """A corpus of rows in memory."""

    def __init__(self, **splits: Sequence[tuple[str, ...]]) -> None:
        self.splits = splits

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        pass

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        return iter(self.splits.get(split, ()))

    def identity(self) -> Mapping[str, object]:
        return {"rows": str(self.splits)}


class Letters(seqx.Tokenizer):
    """A tokenizer with one id for each character; if segmentations are sampled, each id occurs twice."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.folder: Path | None = None

    @property
    def size(self) -> int:
        return 1000

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        self.lines, self.folder = list(lines), folder

    def load(self, folder: Path) -> None:
        self.folder = folder

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        return [ord(letter) for letter in text for _ in range(1 if rng is None else 2)]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(i) for i in ids if i > seqx.UNK)
