"""`training.embeddings`: embeddings start from pretrained vectors in word2vec's text format."""

import gzip
import math
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from seqx.cli import main
from tests.stories.tiny import TINY

TOKENIZER = "{type: sentencepiece, model: bpe, size: 400}"
WORDS = "{type: words, size: 200}"


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(recipe: str, *settings: str) -> Result:
    Path("tiny.yaml").write_text(recipe, "utf-8")
    command = [
        "run",
        "tiny.yaml",
        "--folder",
        "r",
        "--device",
        "cpu",
        "training.steps=1",
        "training.average=1",
    ]
    return CliRunner().invoke(
        main, [*command, "training.save_every=1", "training.schedule.peak=1e-12", *settings]
    )


def weights() -> dict[str, torch.Tensor]:
    return load_file("r/model/model.safetensors")


def vectors(*words: str, size: int = 32, header: bool = True) -> str:
    lines = [
        f"{word} " + " ".join(f"{i + j / 100:.2f}" for j in range(size)) for i, word in enumerate(words, 1)
    ]
    return "\n".join([*([f"{len(words)} {size}"] if header else []), *lines, ""])


@pytest.mark.parametrize("header", [True, False])
def test_words_start_with_their_vectors(*, header: bool) -> None:
    recipe = TINY.replace(TOKENIZER, WORDS).replace("tie_embeddings: all", "tie_embeddings: none")
    text = vectors("The", "no-such-word", "the", "The", header=header)
    Path("en.vec.gz").write_bytes(gzip.compress(text.encode()))
    result = run(recipe, "training.embeddings={source: en.vec.gz}", f"task.target_tokenizer={WORDS}")
    assert result.exit_code == 0, result.output
    found = re.search(
        r"training\.embeddings\.source: 2 of (\d+) symbols \(\d+\.\d%\) have a vector in \S+/en\.vec\.gz; "
        "the others start with random values",
        result.stderr,
    )
    assert found
    source = weights()["source.weight"]
    assert len(source) == 4 + int(found[1])
    for first, value in ((1, 1.0), (3, 3.0)):  # the first vector of a repeated word counts
        expected = torch.tensor([first + j / 100 for j in range(32)]) / math.sqrt(32)
        assert (source - expected).abs().sum(1).min() < 1e-3, value
    assert weights()["target.weight"].abs().max() < 5  # unchanged


def test_subwords_that_are_words_start_with_their_vectors() -> None:
    Path("both.vec").write_text(vectors("the", "house"))
    result = run(TINY, "training.embeddings={target: both.vec}")
    assert result.exit_code == 0, result.output
    assert re.search(r"training\.embeddings\.target: [12] of 396 symbols \(0\.[35]%\)", result.stderr)


def test_resumed_run_does_not_need_the_vectors() -> None:
    Path("both.vec").write_text(vectors("the", "house"))
    settings = "training.embeddings={target: both.vec}"
    assert run(TINY, settings).exit_code == 0
    Path("both.vec").unlink()
    result = run(TINY, settings, "training.steps=2")
    assert result.exit_code == 0, result.output
    assert "have a vector in" not in result.stderr


def test_compressed_file_without_lines_is_empty() -> None:
    Path("v.gz").write_bytes(gzip.compress(b""))
    result = run(TINY, "training.embeddings={source: v.gz}")
    assert result.exit_code == 2, result.output
    assert "training.embeddings.source: " in result.stderr
    assert "v.gz is empty; name a file in word2vec's text format" in result.stderr


@pytest.mark.parametrize(
    ("settings", "content", "message"),
    [
        (
            "{source: v}",
            vectors("the", size=50),
            "has vectors of 50 numbers, but the embeddings of the model have 32; set model.d_model to 50, or",
        ),
        (
            "{source: v}",
            vectors("The", "the")[:-100],
            "v:3: expected a word and 32 numbers; correct the line",
        ),
        ("{source: v}", vectors("The").replace("1 32", "2 32"), "v: ends after 1 of the 2 vectors that its"),
        ("{source: v}", "the\n", "v has no vectors; name a file in word2vec's text format"),
        ("{source: v}", "the 1 2 3\n", "has vectors of 3 numbers, but the embeddings of the model have 32"),
        ("{source: v}", vectors("a").replace("1.05", "x") * 2, None),  # not a symbol, so it is not read
        ("{source: v}", vectors("The", "the").replace("2.05", "x"), "v:3: expected a word and 32 numbers"),
        (
            "{source: v, target: v}",
            vectors("the"),
            "the model ties the embeddings of source and target; set only",
        ),
        ("{source: nothing}", "", "nothing: there is no such file; correct the path"),
        ("{source: v}", "", "v is empty; name a file in word2vec's text format"),
        ("{sauce: v}", "", "training.embeddings"),
    ],
)
def test_problems_of_vectors_are_one_message(settings: str, content: str, message: str | None) -> None:
    Path("v").write_text(content)
    recipe = TINY.replace(TOKENIZER, WORDS)
    result = run(recipe, f"training.embeddings={settings}")
    if message is None:
        assert result.exit_code in (0, 2)
        return
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
