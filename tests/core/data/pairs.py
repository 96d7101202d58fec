"""A task for tests of data preparation, random rows for it, and the content of its batches."""

import hashlib
import os
import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from seqx.data.loader import UpdateBatch
from seqx.errors import UserError
from seqx.interfaces.scores import Evaluation
from seqx.interfaces.task import Example, Rejected, Split, TextModel
from seqx.interfaces.tensors import EOS, PAD, Batch
from seqx.interfaces.text import SPLITS, ProgressReporter
from seqx.tasks.seq2seq import GenerationTask

Row = tuple[Any, ...]


@dataclass
class Pairs(GenerationTask):
    """A task whose rows are in memory. Token ids are hashes of words.

    Args:
        splits: the rows of each split, pairs of source and target text
        vocabulary: size of both vocabularies
        limit: maximum tokens of each side of a training row
        fail_at: the source of the row for which `example` raises an error
        die_at: the source of the row for which `example` kills its process
    """

    splits: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    vocabulary: int = 1000
    limit: int = 50
    fail_at: str = ""
    die_at: str = ""

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        return {"source": self.vocabulary, "target": self.vocabulary}

    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        pass

    def identity(self) -> Mapping[str, object]:
        return {"rows": hashlib.sha256(repr(self.splits).encode()).hexdigest()}

    def learn(self, folder: Path, progress: ProgressReporter) -> None:
        (folder / "vocabulary").write_text(str(self.vocabulary))

    def load(self, folder: Path) -> None:
        self.vocabulary = int((folder / "vocabulary").read_text())

    def rows(self, split: str) -> Iterator[Row]:
        return iter(self.splits.get(split, ()))

    def example(self, row: Row, *, training: bool) -> Example | Rejected:
        if self.fail_at and row[0] == self.fail_at:
            raise UserError("corpus.en:7: no good")
        if self.die_at and row[0] == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        text = dict(zip(("source", "target"), row, strict=True))
        columns = {name: self._ids(words) for name, words in text.items()}
        if training and not all(len(ids) > 1 for ids in columns.values()):
            return Rejected("empty")
        if training and max(map(len, columns.values())) > self.limit:
            return Rejected("too long")
        return Example(columns=columns, text=text)

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """Return the tokens, each repeated at random once or not."""
        return {
            name: [*(i for i in self._ids(words)[:-1] for _ in range(rng.choice((1, 2)))), EOS]
            for name, words in text.items()
        }

    def read(self, text: str) -> Mapping[str, list[int]]:
        return {"source": self._ids(text)}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        raise NotImplementedError

    def inputs(self, split: Split) -> list[str]:
        return [row[0] for row in split.rows]

    def references(self, split: Split) -> list[str]:
        return [row[1] for row in split.rows]

    def evaluate(self, model: TextModel, split: Split) -> Evaluation:
        raise NotImplementedError

    def _ids(self, text: str) -> list[int]:
        digest = hashlib.sha256
        words = text.split()
        return [
            *(4 + int.from_bytes(digest(w.encode()).digest()[:4]) % (self.vocabulary - 4) for w in words),
            EOS,
        ]


def rows(count: int, seed: int = 0, max_words: int = 40) -> list[Row]:
    """Return pairs of random sentences of at most `max_words` words."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(2000)]

    def sentence() -> str:
        return " ".join(rng.choices(words, k=rng.randint(1, max_words)))

    return [(sentence(), sentence()) for _ in range(count)]


class Signals(Pairs):
    """A task whose rows are a source of vectors and a target text."""

    def example(self, row: Row, *, training: bool) -> Example | Rejected:
        signal, text = row
        return Example(columns={"source": signal, "target": self._ids(text)})

    def inputs(self, split: Split) -> list[Any]:
        return [signal for signal, _ in split.rows]


Pair = tuple[tuple[int, ...], tuple[int, ...]]


def pairs(batch: Batch) -> list[Pair]:
    """Return the examples of a batch without padding."""
    examples = []
    for i in range(len(batch.columns["target"].values)):
        sides = []
        for name in ("source", "target"):
            ids, (keep, positions, *_) = batch.columns[name]
            assert ids.dtype == torch.int64
            assert (ids[~keep] == PAD).all()
            assert positions[i][keep[i]].tolist() == list(range(int(keep[i].sum())))
            sides.append(tuple(ids[i][keep[i]].tolist()))
        examples.append((sides[0], sides[1]))
    assert batch.count == sum(len(target) for _, target in examples)
    return examples


def content(updates: list[UpdateBatch]) -> list[Pair]:
    """Return all examples of one update, sorted; `updates` has the part of each rank."""
    return sorted(pair for update in updates for batch, _ in update.microbatches for pair in pairs(batch))


def ids(update: UpdateBatch) -> list[list[int]]:
    return [batch.columns["target"].values.tolist() for batch, _ in update.microbatches]
