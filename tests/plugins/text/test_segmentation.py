"""Sampled segmentations have SentencePiece's distribution, and are equal in every process."""

import gzip
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
import sentencepiece

from seqx_text import SentencePiece
from tests.plugins.text.test_sentencepiece import LINES

DRAWS = (
    10_000  # SentencePiece cannot be seeded; with fewer draws, the distance may exceed the bound by chance
)
Model = Literal["bpe", "unigram"]
MODELS: tuple[Model, ...] = ("bpe", "unigram")


def train(folder: Path, model: Model, lines: Sequence[str] = LINES, **settings: object) -> SentencePiece:
    defaults = {"size": 315, "coverage": 1.0, "alpha": 0.3}
    tokenizer = SentencePiece(model=model, **{**defaults, **settings})  # type: ignore[arg-type]
    tokenizer.learn(iter(lines), folder)
    return tokenizer


def distance(first: Counter[tuple[int, ...]], second: Counter[tuple[int, ...]]) -> float:
    """Return the total variation distance between two samples of `DRAWS` draws."""
    return sum(abs(first[key] - second[key]) for key in first | second) / (2 * DRAWS)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("alpha", [0.1, 0.5])
@pytest.mark.parametrize("text", ["forgotten", "neighbour near", "x\u00e9x 猫", "the  boat"])
def test_sampling_distribution_matches_sentencepiece(
    tmp_path: Path, model: Model, alpha: float, text: str
) -> None:
    tokenizer = train(tmp_path, model, alpha=alpha)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=next(tmp_path.iterdir()).read_bytes())
    rng = random.Random(1)
    mine = Counter(tuple(tokenizer.encode(text, rng)) for _ in range(DRAWS))

    def reference() -> Counter[tuple[int, ...]]:
        texts = [" " + text] * DRAWS
        drawn = theirs.encode(texts, enable_sampling=True, alpha=alpha, nbest_size=-1, num_threads=1)
        return Counter(map(tuple, drawn))

    first = reference()
    assert distance(mine, first) < 1.3 * distance(reference(), first) + 0.02


@pytest.mark.parametrize("model", MODELS)
def test_sampling_depends_on_alpha(tmp_path: Path, model: Model) -> None:
    drawn = []
    for alpha in (0.1, 0.5):
        tokenizer = train(tmp_path / str(alpha), model, alpha=alpha)
        rng = random.Random(1)
        drawn.append(Counter(tuple(tokenizer.encode("forgotten", rng)) for _ in range(DRAWS)))
    assert distance(*drawn) > 0.3


@pytest.mark.slow
def test_equal_seeds_sample_equally_in_every_process(tmp_path: Path) -> None:
    script = (
        "import json, random, sys; from pathlib import Path; from seqx_text import SentencePiece\n"
        "for model in json.loads(sys.argv[3]):\n"
        "    tokenizer = SentencePiece(model=model, alpha=0.3); tokenizer.load(Path(sys.argv[1], model))\n"
        "    rng = random.Random(7); print([tokenizer.encode(line, rng) for line in json.loads(sys.argv[2])])"
    )
    lines, here = LINES[:20], ""
    for model in MODELS:
        tokenizer, rng = train(tmp_path / model, model), random.Random(7)
        here += f"{[tokenizer.encode(line, rng) for line in lines]}\n"
    process = subprocess.run(
        [sys.executable, "-c", script, tmp_path, json.dumps(lines), json.dumps(MODELS)],
        env={**os.environ, "PYTHONHASHSEED": "1"},  # here it is another
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == here


def test_bpe_without_dropout_matches_sentencepiece(data: Callable[[str], Path], tmp_path: Path) -> None:
    with gzip.open(data("tatoeba_en_de") / "test.de.gz") as file:
        lines = file.read().decode().split("\n")[:1000]
    for byte_fallback in (True, False):
        tokenizer = train(
            tmp_path / str(byte_fallback), "bpe", lines, size=1500, alpha=0, byte_fallback=byte_fallback
        )
        for line in [*lines, "猫猫 猫", "  a\tb \u2581"]:
            assert tokenizer.encode(line, random.Random(1)) == tokenizer.encode(line)


@pytest.mark.parametrize("nbest", [0, 1, 3])
def test_unigram_nbest_samples_one_of_the_best(tmp_path: Path, nbest: int) -> None:
    tokenizer = train(tmp_path, "unigram", nbest=nbest, alpha=0.1)
    text = "A small dog has forgotten the boat"
    drawn = Counter(tuple(tokenizer.encode(text, random.Random(seed))) for seed in range(300))
    assert len(drawn) == max(nbest, 1)
    assert tuple(tokenizer.encode(text)) in drawn


@pytest.mark.parametrize("model", MODELS)
def test_sampled_segmentations_keep_symbols_whole(tmp_path: Path, model: Model) -> None:
    tokenizer = train(tmp_path, model, alpha=0.01, size=320, symbols=("<2de>", "<2de>x", "man"))
    for seed in range(50):
        ids = tokenizer.encode("A<2de>xman <2de> mane", random.Random(seed))
        assert [id for id in ids if id in (4, 5, 6)] == [5, 6, 4, 6]  # noqa: A001


def test_unigram_samples_a_long_line_without_spaces(tmp_path: Path) -> None:
    line = "forgottenneighbour" * 500
    for model in MODELS:
        tokenizer = train(tmp_path / model, model)
        assert tokenizer.decode(tokenizer.encode(line, random.Random(1))) == line
