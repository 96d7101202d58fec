"""The text, the vocabulary, the batches and the trained model that all toolkits use."""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.sizes import SIZES, Pairs, Size, write_batches
from benchmarks.peers.subwords import Subwords
from benchmarks.provenance import ROOT
from seqx.commands.loading import CheckedRecipe, load_checked
from seqx.data.batches import Batches
from seqx.data.loader import Position
from seqx.data.prepare import cached_vocabulary, no_progress, prepare
from seqx.errors import UserError
from seqx.storage.text_lines import read_lines
from seqx_sample.corpus import Sample

BATCHES = 60
"""Updates that are stored for each size of the model; longer measurements start again with the first one."""

HELD_OUT = 600
"""Pairs of the test set; the largest decoding measurement needs 512."""

TextPair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Text:
    """The parallel text: the generated sample, or files that a user names.

    Args:
        files: source and target file, one sentence per line; None: the generated sample
        pairs: maximum number of training pairs
        vocabulary: number of subwords of the joint vocabulary
        seed: seed of the sample
    """

    files: tuple[Path, Path] | None = None
    pairs: int = 20_000
    vocabulary: int = 2000
    seed: int = 1

    @property
    def digest(self) -> str:
        """A short hash of these settings, for the name of a folder."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]

    def read(self) -> list[TextPair]:
        """Return the pairs, held-out pairs first.

        Raises:
            UserError: the files have different numbers of lines, or too few
        """
        if self.files is None:
            return list(_joined(self.seed, self.pairs + HELD_OUT))
        try:
            source, target = ([*read_lines(file)] for file in self.files)
        except UserError as error:
            raise UserError(f"--files: {error}; name two text files in UTF-8") from None
        if len(source) != len(target):
            raise UserError(f"--files: {len(source)} and {len(target)} lines; name two parallel files")
        if len(source) < 2 * HELD_OUT:
            raise UserError(f"--files: {len(source)} lines; at least {2 * HELD_OUT} are needed")
        return list(zip(source, target, strict=True))[: self.pairs + HELD_OUT]


def _joined(seed: int, count: int) -> Iterator[TextPair]:
    """Yield one to three sentences of the sample as one pair: about 25 subwords, as in news text."""
    rng = random.Random(seed)  # noqa: S311  no secret
    rows = Sample(train=3 * count, dev=0, test=0, seed=seed).rows("train")
    for _ in range(count):
        sentences = [next(rows) for _ in range(rng.randint(1, 3))]
        source, target = (" ".join(side) for side in zip(*sentences, strict=True))
        yield source, target


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The files in a folder, which is made by `build`."""

    folder: Path
    vocabulary: int

    @classmethod
    def build(cls, folder: Path, text: Text, sizes: Sequence[str]) -> "Workload":
        """Write what is missing: text, vocabulary, and batches for each size."""
        workload = cls(folder=folder, vocabulary=text.vocabulary)
        if not workload.file("test", "target").is_file():
            workload._write_text(text.read())
        if missing := [name for name in sizes if not workload.batches(name).is_file()]:
            workload._write_batches(missing)
        return workload

    def file(self, split: str, side: str) -> Path:
        """Return the path of one side (source or target) of a split."""
        return self.folder / f"{split}.{side}"

    def lines(self, split: str, side: str = "source") -> list[str]:
        """Return the lines of one side of a split."""
        return self.file(split, side).read_text(encoding="utf-8").removesuffix("\n").split("\n")

    def batches(self, size: str) -> Path:
        """Return the file with the batches for a size."""
        return self.folder / f"batches-{size}.npz"

    def model(self, size: str, updates: int) -> Path:
        """Return the folder of the model of a size after a number of updates."""
        return self.folder / f"run-{size}-{updates}" / "model"

    @property
    def tokenizer(self) -> Path:
        """The SentencePiece model."""
        return next((self.folder / "vocabulary").rglob("*.model"))

    def encoded(self, split: str, side: str) -> Path:
        """Return a file with the subwords of one side of a split, separated by spaces; write it if needed."""
        file = self.folder / f"{split}.subwords.{side}"
        if not file.is_file():
            subwords = Subwords(self.tokenizer)
            symbols = subwords.symbols()
            rows = (
                " ".join(symbols[i] for i in ids[:-1]) for ids in subwords.encode(self.lines(split, side))
            )
            file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        return file

    def overrides(self, size: Size) -> list[str]:
        """Return the overrides with which wmt_en_de trains on this text, and validates on a few lines."""
        splits = {
            split: [str(self.file(name, side)) for side in ("source", "target")]
            for split, name in (("train", "train"), ("dev", "few"), ("test", "few"))
        }
        return [
            f"task.corpus={json.dumps({'type': 'files', **splits})}",
            f"task.tokenizer.size={self.vocabulary}",
            "task.metrics=[bleu]",
            f"training.tokens={size.batch_tokens}",
            "published=null",
            *size.overrides,
        ]

    def recipe(self, size: Size) -> CheckedRecipe:
        """Return the checked recipe with these overrides."""
        return load_checked(str(ROOT / "recipes" / "wmt_en_de.yaml"), None, self.overrides(size))

    def train(self, size: str, updates: int, threads: int) -> None:
        """Train a model with `seqx run`, unless it is finished."""
        if self.model(size, updates).is_dir():
            return
        warmup = max(1, updates // 4)
        settings = [
            f"training.steps={updates}",
            f"training.validate_every={updates}",
            f"training.save_every={updates}",
            "training.average=1",
            f"training.schedule.warmup={warmup}",
            "training.schedule.peak=5e-4",
            # Without it, six post-norm layers learn nothing in a few hundred updates.
            *(f"model.{side}.initialisation=depth_scaled" for side in ("encoder", "decoder")),
        ]
        command = [sys.executable, "-m", "seqx", "run", str(ROOT / "recipes" / "wmt_en_de.yaml")]
        options = [
            "--folder",
            str(self.model(size, updates).parent),
            "--device",
            "cpu",
            "--threads",
            str(threads),
        ]
        arguments = [*self.overrides(SIZES[size]), *settings]
        subprocess.run([*command, *options, *arguments], check=True, stdout=subprocess.DEVNULL)

    def _write_text(self, pairs: list[TextPair]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        bounds = {
            "few": (0, 8),
            "train": (HELD_OUT, len(pairs)),
            "test": (0, HELD_OUT),
        }
        for split, (first, last) in bounds.items():  # the test set last: `build` looks for it
            for i, side in enumerate(("source", "target")):
                lines = "".join(f"{pair[i]}\n" for pair in pairs[first:last])
                self.file(split, side).write_text(lines, encoding="utf-8")

    def _write_batches(self, sizes: Sequence[str]) -> None:
        cache = self.folder / "vocabulary"
        task = self.recipe(SIZES[sizes[0]]).configured().task
        task.fetch(cache, no_progress)
        task.load(cached_vocabulary(task, {}, cache))
        store = prepare(task, "train", {}, cache, processes=1)
        for name in sizes:
            source = Batches(store=store, tokens=SIZES[name].batch_tokens)
            plan = source.plan(0)
            updates = [source.update_batch(plan, Position(0, i)) for i in range(min(BATCHES, len(plan)))]
            columns = [update.microbatches[0].batch.columns for update in updates]
            pairs = [Pairs(*(batch[side].values.numpy() for side in Pairs._fields)) for batch in columns]
            write_batches(self.batches(name), pairs)
