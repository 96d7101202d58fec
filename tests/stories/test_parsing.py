"""The parsing recipe with a small model, from treebank to score."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from seqx_parsing.reader import read
from seqx_sample import Sample
from tests.stories.test_sample import RECIPES
from tests.stories.tiny import answers, check_finished_run_is_unchanged, done, lines, move_model, refused
from tests.stories.tiny import seqx as command

WSJ = RECIPES / "wsj_parsing.yaml"
SMALL: list[str] = [
    *("model.inner.d_model=16", "task.tokenizer.size=400"),
    *(
        f"model.inner.{side}.{setting}"
        for side in ("encoder", "decoder")
        for setting in ("layers=1", "attention.heads=2", "feedforward.width=32")
    ),
    *("training.steps=6", "training.tokens=400", "training.save_every=2", "training.validate_every=3"),
    *("training.keep_checkpoints=3", "training.average=2", "training.precision=fp32"),
    *("search.size=2", "search.ratio=1.5", "search.extra=10"),
]
CORPUS: list[str] = ["task.corpus.train=300", "task.corpus.dev=6", "task.corpus.test=6"]
INPUTS = ["The old man sees the house .", "", "A dog ( sleeps ) .", "   ", "xyzzy"]


def words(text: str) -> list[str]:
    """Return the words of all trees in a text, which may have no tree."""
    return [leaf.word for tree in read([text], "answers") for leaf in tree.leaves()]


def test_parsing_recipe_is_trained_scored_and_its_model_is_moved() -> None:
    start: list[str | Path] = ["run", WSJ, "--profile", "sample", *SMALL, *CORPUS]
    done(*start, "training.steps=4")
    output = done(*start)
    run = Path("runs/wsj_parsing-sample")
    assert [row["step"] for row in lines(run, "start")] == [0, 4]
    assert [row["step"] for row in lines(run, "evaluation")] == [3, 4, 6, 6, 6]
    scores = json.loads((run / "model" / "scores.json").read_text(encoding="utf-8"))
    for split in ("dev", "test"):
        assert next(iter(scores[split])) == "f1"
        for name in ("f1", "strict_f1", "valid"):
            score = scores[split][name]
            note = " (without 6 of 6 sentences (6 errors, 0 skipped))" if name == "f1" else ""
            assert f"{split} {name} {score['value']:.2f}{note}" in output
            assert f"  {score['signature']}\n" in output
            assert score["signature"].endswith("|tags:predicted|grammar:yes")
        assert scores[split]["f1"]["signature"].startswith("prm:COLLINS|mode:evalb|len:all|valid:")
        assert scores[split]["strict_f1"]["signature"].startswith("prm:COLLINS|mode:strict|len:all|valid:")
        assert scores[split]["valid"]["value"] == 100
    outputs = (run / "outputs" / "test.txt").read_text(encoding="utf-8").splitlines()
    references = [tree for (tree,) in Sample(test=6, columns=("tree",)).rows("test")]
    assert list(map(words, outputs)) == list(map(words, references))

    check_finished_run_is_unchanged(run, start, output)
    model = move_model(run)
    for line, answer in zip(INPUTS, answers("parse", model, INPUTS), strict=True):
        assert words(answer) == line.replace("(", "-LRB-").replace(")", "-RRB-").split()

    def evaluated(*settings: str) -> dict[str, dict[str, float | str]]:
        return json.loads(done("evaluate", model, "--json", "--precision", "fp32", *settings))["test"]

    for name, score in evaluated().items():
        assert score["value"] == pytest.approx(scores["test"][name]["value"])
        assert score["signature"] == scores["test"][name]["signature"]
    unconstrained = evaluated("task.constrained=false", "task.tags=none")
    assert unconstrained["valid"]["value"] == 0  # after six updates every output needs repair
    assert unconstrained["valid"]["signature"] == "repaired:6|outputs:6|tags:gold|grammar:no"
    assert unconstrained["tag_accuracy"]["value"] == 100
    constrained = evaluated("task.tags=none")
    assert constrained["f1"] == {
        "value": pytest.approx(constrained["strict_f1"]["value"]),
        "signature": str(constrained["strict_f1"]["signature"]).replace("mode:strict", "mode:evalb"),
        "results": ["valid", "error", "skip"],
    }


def written_files() -> set[str]:
    """Return the names of all files in the current folder, except the locks of runs."""
    return {path.name for path in Path().rglob("*") if path.is_file()} - {".lock"}


def test_missing_treebank_gets_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_advice(refusal: str) -> None:
        assert len(refusal.splitlines()) == 3  # the message, the line of the recipe, and a caret
        for part in (
            "The Penn Treebank (LDC99T42) is licensed by the Linguistic Data Consortium",
            "Set 'folder' to your copy, which contains parsed/mrg/wsj/02",
            "`seqx run wsj_parsing --profile sample`",
        ):
            assert part in refusal
        assert written_files() == set()

    monkeypatch.delenv("PTB", raising=False)
    refusal = refused("run", "wsj_parsing")
    assert ": task.corpus: ${PTB}: the environment variable PTB is not set; set it to a folder" in refusal
    check_advice(refusal)
    monkeypatch.setenv("PTB", "treebank_3")
    refusal = refused("run", "wsj_parsing_inorder")
    assert f": task.corpus: {Path().absolute()}/treebank_3: is not a folder. " in refusal
    check_advice(refusal)


def release(folder: Path, sections: dict[int, int]) -> None:
    """Write a number of trees for each section, in the layout of the LDC, with traces and function tags."""
    trees = Sample(train=sum(sections.values()), columns=("tree",)).rows("train")
    for section, count in sections.items():
        section_folder = folder / f"parsed/mrg/wsj/{section:02}"
        section_folder.mkdir(parents=True)
        text = ""
        for number in range(count):
            (tree,) = next(trees)
            bare = tree.removeprefix("(TOP ").removesuffix(")").replace("(NP ", f"(NP-SBJ-{number} ", 1)
            text += f"\n( {bare.replace(' (', chr(10) + '  (', 2)[:-1]}\n   (NP (-NONE- *T*-{number})) ))\n"
        (section_folder / f"wsj_{section:02}01.mrg").write_text(text, encoding="utf-8")


def test_parser_is_trained_on_a_folder_like_the_penn_treebank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(tmp_path / "ldc", {2: 200, 3: 100, 24: 6, 0: 5})
    monkeypatch.setenv("PTB", "ldc")
    sections = ["task.corpus.train=[2, 3]", "task.corpus.dev=[24]", "task.corpus.test=[0]"]
    result = command("run", WSJ, *SMALL, *sections)
    assert result.exit_code == 0, result.output
    assert "300 training examples" in result.stderr
    assert "test f1 " in result.stdout
    run = Path("runs/wsj_parsing")
    symbols = json.loads((run / "model/task/symbols.json").read_text(encoding="utf-8"))
    assert symbols["symbols"][0] == "XX"
    assert "(NP" in symbols["symbols"]
    assert "-NONE-" not in symbols["tags"]
    assert not any("-" in symbol for symbol in symbols["symbols"])
    assert (run / "outputs" / "test.txt").read_text(encoding="utf-8").count("\n") == 5


FAULTS: dict[str, Callable[[str], str]] = {
    r"7: a bracket opens after the word of \(\S+ \S+; close that bracket first": lambda t: t.replace(
        ")", "", 1
    ),
    "7: a closing bracket has no opening bracket; remove it": lambda t: f"{t})",
    "20: the text ends inside the tree that begins on line 7; add its closing brackets": lambda t: t[:-1],
    "7: 'rain' is outside of all brackets; remove it, or put it into a tree": lambda t: "rain",
    r"7: the bracket \(NP\) is empty; write a word into it, or remove it": lambda t: t.replace(
        "(S ", "(S (NP) "
    ),
}


@pytest.mark.parametrize("expected", FAULTS)
def test_corrupted_tree_gives_one_message(expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQX_CACHE", "fresh")
    corpus = Sample(train=20, dev=20, test=20, columns=("tree",))
    for split in ("train", "dev", "test"):
        trees = [tree for (tree,) in corpus.rows(split)]
        if split == "test":
            trees[6] = FAULTS[expected](trees[6])
        Path(f"{split}.mrg").write_text("\n".join(trees), encoding="utf-8")
    named = "{type: treebank, train: [train.mrg], dev: [dev.mrg], test: [test.mrg]}"
    *progress, message = refused("run", WSJ, *SMALL, f"task.corpus={named}").splitlines()
    assert re.fullmatch(rf"{Path().absolute()}/test\.mrg:{expected}", message), message
    assert all(line.startswith("reading ") for line in progress)
    assert written_files() == {"train.mrg", "dev.mrg", "test.mrg"}
