"""The commands of "Silver trees" in docs/how-to/parse.md: from two parsers to a semi-supervised one."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqx_sample import Sample
from tests.docs.command_server import shorten
from tests.docs.listings import ROOT, listings
from tests.plugins.parsing.test_treebanks import release
from tests.stories.tiny import files, lines, seqx

DOCUMENT = ROOT / "docs/how-to/parse.md"
OVERFIT = [  # the training sentences: two parsers must agree on some trees
    "training.steps=80",
    "training.validate_every=80",
    "training.save_every=80",
    "training.average=1",
    "training.schedule.warmup=8",
    "training.schedule.peak=1.5e-2",
    "training.objective.inner.smoothing=0",
    "task.sample_segmentation=false",
    "model.dropout=0",
    "model.inner.encoder.dropout=0",
    "model.inner.decoder.dropout=0",
    "search.extra=60",
]


def commands_of(heading: str) -> Iterator[str]:
    """Yield the commands and the Python listings of a section, in order."""
    text = DOCUMENT.read_text(encoding="utf-8")
    start = text.index(f"\n## {heading}\n")
    first, last = (text[:end].count("\n") for end in (start, text.index("\n## ", start + 1)))
    for listing in listings(DOCUMENT):
        if first < int(listing.place.rpartition(":")[2]) <= last:
            if listing.language == "console":
                yield from (command.text for command in listing.commands())
            else:
                yield listing.text


def execute(line: str, *more: str) -> str:
    """Run a command of the document with a shorter training, and return its standard error."""
    words = shlex.split(line.replace("\\\n", " "))
    with pytest.MonkeyPatch.context() as environment:
        while "=" in words[0]:
            environment.setenv(*words.pop(0).split("="))
        streams = {mark: Path(words[words.index(mark) + 1]) for mark in "<>" if mark in words}
        words = [word for word in words if word not in streams and Path(word) not in streams.values()]
        assert words.pop(0) == "seqx"
        result = seqx(
            *shorten(words), *more, text=streams["<"].read_text(encoding="utf-8") if "<" in streams else None
        )
    assert result.exit_code == 0, result.output
    if ">" in streams:
        streams[">"].write_text(result.stdout, encoding="utf-8")
    return result.stderr


def examples(run: Path) -> int:
    """Return the number of training examples of a run."""
    (found,) = re.findall(r"([\d,]+) training examples", (run / "log.txt").read_text(encoding="utf-8"))
    return int(found.replace(",", ""))


def vocabulary(run: Path) -> dict[str, bytes]:
    """Return the vocabulary of words and symbols of the run's model."""
    folder = run / "model" / "task"
    return {name: (folder / name).read_bytes() for name in files(folder)}


def first_loss(run: Path) -> float:
    return lines(run, "update")[0]["loss"]


EVERY = "callbacks=[progress, {type: metrics, every: 1}]"


def test_silver_trees_of_two_parsers_train_a_third() -> None:
    execute("seqx run wsj_parsing --profile sample", *OVERFIT)
    other, python, silver, stats, *_, mixture, gold = commands_of("Silver trees")
    execute(other, *OVERFIT)
    Path("listing.py").write_text(python, encoding="utf-8")
    runpy.run_path("listing.py")
    sentences = Path("sentences.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(sentences) == 500
    Path("sentences.txt").write_text("".join(sentences[:20]), encoding="utf-8")
    message = execute(silver)
    trees = Path("silver.txt").read_text(encoding="utf-8").splitlines()
    assert message.startswith("sentences: 20, ")
    assert f"the models agree on {len(trees)} " in message
    known = {tree for (tree,) in Sample(seed=2, train=8, columns=("tree",)).rows("train")}
    assert len(known & {*trees}) > 3  # both parsers overfitted these sentences
    execute(stats)

    execute(mixture, "task.corpus.corpora.0.seed=1", EVERY, *OVERFIT, "training.steps=40")
    semi, last = Path("runs/wsj_parsing_semi-sample"), Path("runs/gold")
    assert examples(semi) == 8 + len({*trees})
    execute(gold, EVERY, *OVERFIT, "training.steps=4")
    assert examples(last) == 8
    assert vocabulary(last) == vocabulary(semi)
    assert first_loss(last) < first_loss(semi) / 2
    execute("seqx evaluate runs/gold/model --split test")


def test_semi_supervised_recipe_with_a_treebank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The treebank has a few trees; the silver trees have enough words to learn a vocabulary."""
    *_, environment, mixture, gold, _, _ = commands_of("Silver trees")
    silver = tmp_path / "silver.txt"
    silver.write_text(
        "".join(f"{tree}\n" for (tree,) in Sample(train=9, columns=("tree",)).rows("train")), encoding="utf-8"
    )
    names = [word.partition("=")[0] for word in environment.split()[1:]]
    for name, value in zip(names, (release(tmp_path, {2: 5, 3: 3, 4: 3}), silver), strict=True):
        monkeypatch.setenv(name, str(value))
    sections = ("train=[2]", "dev=[3]", "test=[4]")
    execute(mixture, *(f"task.corpus.corpora.0.{section}" for section in sections), "training.steps=4")
    assert examples(Path("runs/wsj_parsing_semi")) == 5 + 9
    execute(gold, *(f"task.corpus.{section}" for section in sections), "training.steps=4")
    assert examples(Path("runs/wsj_parsing_semi-gold")) == 5
    assert vocabulary(Path("runs/wsj_parsing_semi-gold")) == vocabulary(Path("runs/wsj_parsing_semi"))
