"""Sources of vectors are trained on several ranks, and in bfloat16, as on one device."""

from pathlib import Path

import pytest

from tests.core.parallel.test_training import CLOSE, losses, train_on_ranks

PLUGIN = '''\
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import seqx


@dataclass(kw_only=True)
class Noise(seqx.Corpus):
    """Random vectors, and random symbols."""

    def fetch(self, folder, progress, splits=seqx.SPLITS):
        pass

    def rows(self, split) -> Iterator[tuple]:
        rng = np.random.default_rng(seqx.SPLITS.index(split))
        for length in rng.integers(2, 9, size=200 if split == "train" else 4):
            yield rng.normal(size=(length, 3)), " ".join(map(str, rng.integers(4, 9, size=length // 2)))


@dataclass(kw_only=True, eq=False)
class Signals(seqx.GenerationTask, seqx.MetricTask):
    """Symbols for vectors."""

    input_type = object
    vocab_sizes = {"source": seqx.Features(3), "target": 9}

    def learn(self, folder, progress):
        pass

    def load(self, folder):
        pass

    def rows(self, split):
        return self.corpus.rows(split)

    def read(self, source):
        return {"source": np.asarray(source)}

    def example(self, row, *, training):
        return seqx.Example(columns={**self.read(row[0]), "target": [*map(int, row[1].split()), seqx.EOS]})

    def write(self, ids, source, labels):
        return " ".join(map(str, ids))


@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Corpus, noise=Noise)
    registry.add(seqx.Task, signals=Signals)
'''
SETTINGS = (
    "task={type: signals, corpus: noise, metrics: [exact_match]}",
    "model.tie_embeddings=target",
    "model.source_input={type: convolution, layers: 1}",
    "search={type: greedy, ratio: 1, extra: 2}",
    "training.steps=3",
    "training.validate_every=3",
    "training.tokens=60",
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of a run on one rank in fp32."""
    return trained(1, tmp_path_factory.mktemp("alone"))


def trained(size: int, folder: Path, *settings: str) -> list[float]:
    """Train on some ranks; return the losses."""
    for place in (folder, *(folder / f"{rank}" for rank in range(size) if size > 1)):
        place.mkdir(exist_ok=True)
        (place / "signals.py").write_text(PLUGIN, encoding="utf-8")
    train_on_ranks(size, folder, "run", *SETTINGS, *settings)
    return losses(folder / "run")


@pytest.mark.promise("same-losses-on-all-ranks")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_losses_of_vectors_do_not_depend_on_the_strategy(
    strategy: str, alone: list[float], tmp_path: Path
) -> None:
    assert trained(2, tmp_path, f"training.parallel={strategy}") == pytest.approx(alone, rel=CLOSE)


def test_vectors_are_trained_in_bfloat16_on_two_ranks(alone: list[float], tmp_path: Path) -> None:
    found = trained(2, tmp_path, "training.precision=bf16")
    assert found == pytest.approx(alone, rel=2e-2)
    assert found != pytest.approx(alone, rel=1e-6)
