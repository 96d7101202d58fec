"""How fast a corpus is prepared: pairs of WMT-like lengths, SentencePiece on both sides, 1 or more processes.

    python benchmarks/preparation.py --pairs 2000000 --out preparation.json

The pairs are made from a seeded word list, with Zipf's frequencies; a SentencePiece model is learnt from
them. Memory is the sum over all processes, as Linux counts it (Rss: shared pages count in each; Pss: once).
"""

import argparse
import io
import json
import os
import platform
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import sentencepiece

from seqx.data.prepare import learnt, prepare, quiet
from seqx.interfaces.text import Predictor, Progress, Task
from seqx.interfaces.values import EOS, Dropped, Evaluation, Example

_BLOCK = 10_000  # pairs made at once


class Generated(Task):
    """Pairs of made-up words, encoded by SentencePiece."""

    def __init__(self, pairs: int, seed: int, vocabulary: int) -> None:
        self.pairs = pairs
        self.seed = seed
        self.vocabulary = vocabulary
        self.processor: Any = None
        self.folder = Path()

    @property
    def sizes(self) -> Mapping[str, int]:
        """One vocabulary for both sides."""
        return {"source": self.vocabulary, "target": self.vocabulary}

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Write the pairs into files."""
        self.folder = folder
        for split in ("train", "dev", "test"):
            with (folder / f"{split}.a").open("w") as source, (folder / f"{split}.b").open("w") as target:
                for pair in self._generated(split):
                    source.write(f"{pair[0]}\n")
                    target.write(f"{pair[1]}\n")

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The lines of two files."""
        with (
            (self.folder / f"{split}.a").open(newline="\n") as source,
            (self.folder / f"{split}.b").open(newline="\n") as target,
        ):
            for a, b in zip(source, target, strict=True):
                yield a[:-1], b[:-1]

    def identity(self) -> Mapping[str, object]:
        """The settings of the generator."""
        return {"pairs": self.pairs, "seed": self.seed, "vocabulary": self.vocabulary}

    def learn(self, folder: Path, progress: Progress) -> None:
        """BPE from the first 50,000 sentences."""
        lines = (text for row, _ in zip(self.rows("train"), range(25_000), strict=False) for text in row)
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=model, vocab_size=self.vocabulary, model_type="bpe",
            pad_id=0, bos_id=1, eos_id=2, unk_id=3, minloglevel=2,
        )  # fmt: skip
        (folder / "model").write_bytes(model.getvalue())

    def load(self, folder: Path) -> None:
        """Use the learnt model."""
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=(folder / "model").read_bytes())

    def _generated(self, split: str) -> Iterator[tuple[str, str]]:
        """Streams pairs: lengths log-normal with a mean of about 24 words, the two sides' alike."""
        seed = self.seed + {"train": 0, "dev": 1, "test": 2}[split]
        rng = np.random.default_rng(seed)
        words = np.array(_words())
        frequencies = np.cumsum(1 / np.arange(1, len(words) + 1))
        frequencies /= frequencies[-1]
        left = self.pairs if split == "train" else 3000
        while left:
            size = min(left, _BLOCK)
            source = rng.lognormal(3.0, 0.55, size).clip(1, 120)
            target = (source * rng.lognormal(0, 0.15, size)).clip(1, 120)
            lengths = np.stack([source, target], 1).astype(int).ravel()
            text = words[np.searchsorted(frequencies, rng.random(lengths.sum()))].tolist()
            ends = np.cumsum(lengths).tolist()
            sentences = [" ".join(text[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
            yield from zip(sentences[::2], sentences[1::2], strict=True)
            left -= size

    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Dropped:
        """Ids of both sides; rows of more than 250 pieces, or of very different lengths, are dropped."""
        columns = {
            name: [*self.processor.encode(text), EOS] for name, text in zip(self.sizes, row, strict=True)
        }
        short, long = sorted(map(len, columns.values()))
        if training and long > 250:
            return Dropped("too long")
        if training and long > 3 * short + 10:
            return Dropped("badly matched")
        return Example(columns=columns, text=dict(zip(columns, row, strict=True)))

    def read(self, text: str) -> Mapping[str, list[int]]:
        """Not needed here."""
        raise NotImplementedError

    def write(self, ids: Sequence[int], text: str) -> str:
        """Not needed here."""
        raise NotImplementedError

    def inputs(self, split: str) -> list[str]:
        """Not needed here."""
        raise NotImplementedError

    def references(self, split: str) -> list[str]:
        """Not needed here."""
        raise NotImplementedError

    def evaluate(self, predictor: Predictor, split: str) -> Evaluation:
        """Not needed here."""
        raise NotImplementedError


def _words(count: int = 50_000) -> list[str]:
    """Made-up words, short ones first, as frequent words are short."""
    rng = random.Random(7)  # noqa: S311
    onsets = ["", *"bdfghklmnprstvwz", "br", "ch", "fl", "gr", "kn", "pl", "sch", "sp", "st", "tr"]
    nuclei = ["a", "e", "i", "o", "u", "ä", "ö", "ü", "au", "ei", "ie", "ea"]
    codas = ["", *"lmnrst", "ch", "ck", "ng", "nd", "rt", "st"]
    words: dict[str, None] = {}
    while len(words) < count:
        syllables = 1 + (len(words) > 1000) + (len(words) > 10_000)
        parts = (rng.choice(onsets) + rng.choice(nuclei) + rng.choice(codas) for _ in range(syllables))
        words["".join(parts)] = None
    return list(words)


class Memory:
    """The most memory that this process and its descendants used together, sampled by a thread."""

    def __init__(self) -> None:
        self.rss = self.pss = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.5):
            family = _family(os.getpid())
            self.rss = max(self.rss, sum(_kilobytes(pid, "Rss:") for pid in family))
            self.pss = max(self.pss, sum(_kilobytes(pid, "Pss:") for pid in family))


def _family(root: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = [
            int(child)
            for path in Path(f"/proc/{root}/task").glob("*/children")
            for child in path.read_text().split()
        ]
    except OSError:
        return []
    return [root, *(pid for child in children for pid in _family(child))]


def _kilobytes(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def measure(task: Task, cache: Path, processes: int) -> dict[str, Any]:
    """Prepare once with so many processes."""
    with Memory() as memory:
        began = time.perf_counter()
        store = prepare(task, "train", {"processes": processes}, cache, processes=processes)
        seconds = time.perf_counter() - began
    record = {
        "processes": processes,
        "seconds": round(seconds, 2),
        "lines_per_second": round(store.rows / seconds),
        "peak_rss_mb": memory.rss // 1024,
        "peak_pss_mb": memory.pss // 1024,
        "examples": len(store),
        "dropped": dict(store.dropped),
        "tokens": {name: len(column.values) for name, column in store.columns.items()},
    }
    shutil.rmtree(store.folder)
    return record


def main() -> None:
    """Measure, print, and keep a record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=300_000, help="pairs that are prepared")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="how many are compared")
    parser.add_argument("--vocabulary", type=int, default=8000, help="pieces of the SentencePiece model")
    parser.add_argument("--seed", type=int, default=1, help="of the generated pairs")
    parser.add_argument("--folder", type=Path, help="where stores are written and removed again")
    parser.add_argument("--out", type=Path, help="where the JSON record is written")
    settings = parser.parse_args()
    task = Generated(settings.pairs, settings.seed, settings.vocabulary)
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        cache = Path(folder)
        task.fetch(cache, quiet)
        task.load(learnt(task, {}, cache))
        runs = []
        for processes in settings.processes:
            runs.append(measure(task, cache, processes))
            print(json.dumps(runs[-1]), flush=True)
    ratio = runs[-1]["lines_per_second"] / runs[0]["lines_per_second"]
    record = {
        "benchmark": "preparation",
        "pairs": settings.pairs,
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": platform.processor(),
            "load": os.getloadavg(),
        },
        "python": platform.python_version(),
        "sentencepiece": sentencepiece.__version__,
        "runs": runs,
        "ratio": round(ratio, 2),
    }
    print(f"{settings.processes[-1]} processes are {ratio:.2f} times as fast as {settings.processes[0]}")
    if settings.out:
        settings.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
