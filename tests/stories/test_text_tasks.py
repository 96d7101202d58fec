"""The recipes of the text tasks with small models, from recipe to score and to answers of the command."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seqx.storage.json_format import FORMAT
from seqx.storage.manifest import Manifest
from tests.stories.tiny import done, lines, refused, seqx

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = [
    *("task.tokenizer.size=400", "task.corpus.train=300", "task.corpus.dev=6", "task.corpus.test=6"),
    *("model.d_model=16", "training.precision=fp32", "training.steps=4", "training.save_every=2"),
    *("training.validate_every=2", "training.average=1"),
]
STACK = ("layers=1", "attention.heads=2", "feedforward.width=32")
INPUTS = "The old man\n\nA dog sleeps.\n"


def run(recipe: str, *settings: str) -> str:
    return done("run", RECIPES / f"{recipe}.yaml", "--profile", "sample", *SMALL, *settings)


def test_language_model_is_trained_and_generates() -> None:
    output = run(
        "language_model", *(f"model.decoder.{each}" for each in STACK), "training.tokens=300",
        "training.select=best", "training.steps=8",
    )  # fmt: skip
    folder = Path("runs/language_model-sample")
    assert "test bits_per_character " in output
    rows = [row for row in lines(folder, "evaluation") if row["split"] == "dev"]
    bits = {row["step"]: row["scores"]["bits_per_character"]["value"] for row in rows}
    assert all(row["perplexity"] == row["scores"]["token_perplexity"]["value"] for row in rows)
    best = min(bits, key=lambda step: bits[step])
    about = json.loads((folder / "model" / "model.json").read_text(encoding="utf-8"))
    assert about["steps"] == [best] == [8]  # fewer bits are better

    command = ("generate", folder, "search.ratio=1", "search.extra=3")
    answers = done(*command, text=INPUTS).split("\n")
    assert all(answer.startswith(line) for answer, line in zip(answers, INPUTS.split("\n"), strict=True))
    assert len(answers[0]) > len("The old man")
    assert answers[1] == ""
    assert done(*command, text=INPUTS).split("\n") == answers
    assert done(*command, "search.seed=2", text=INPUTS).split("\n") != answers
    scores = json.loads(done("evaluate", folder, "--json", "--precision", "fp32"))["test"]
    saved = json.loads((folder / "model" / "scores.json").read_text(encoding="utf-8"))["test"]
    assert {name: score["value"] for name, score in scores.items()} == pytest.approx(
        {name: score["value"] for name, score in saved.items()}, rel=1e-5
    )


def test_limit_applies_to_prompt_and_output_together() -> None:
    limit = ("model.decoder.positions={type: learned, limit: 20}", "model.decoder.layers=1")
    recipe: list[str | Path] = ["run", RECIPES / "language_model.yaml", "--profile", "sample", *SMALL, *limit]
    assert "reads and writes at most 20 tokens" in refused(*recipe, "task.max_length=24")
    # The model reads BOS and 20 tokens except the last one.
    done(*recipe, "task.max_length=20", "training.tokens=300")


def test_text_to_text_is_trained_and_answers() -> None:
    stacks = (f"model.{side}.{each}" for side in ("encoder", "decoder") for each in STACK)
    output = run("text_to_text", *stacks, "training.tokens=300")
    assert "test rougeL " in output
    assert "test exact_match " in output
    answers = done("answer", "runs/text_to_text-sample", text=INPUTS).split("\n")
    assert len(answers) == 4
    assert answers[1] == ""
    outputs = [done("answer", "runs/text_to_text-sample", text=f"a{between}tab\n") for between in "\t "]
    assert outputs[0] == outputs[1]


def test_question_answering_is_trained_and_answers() -> None:
    stacks = (f"model.{side}.{each}" for side in ("encoder", "decoder") for each in STACK)
    output = run("question_answering", *stacks, "training.tokens=300")
    assert "test exact_match " in output
    assert "test squad_f1 " in output
    questions = "Who saw the house?\tThe old man saw the house.\nWho sleeps?\tA dog sleeps.\n"
    assert len(done("answer", "runs/question_answering-sample", text=questions).splitlines()) == 2
    result = seqx("answer", "runs/question_answering-sample", text="Who sleeps?\tA dog.\tA cat.\n")
    assert result.exit_code == 2
    output = "standard input:1: an input has 3 columns, separated by tabs, but the template has {"
    assert output in result.stderr


def test_classifier_is_trained_and_classifies() -> None:
    output = run("sentiment", *(f"model.encoder.{each}" for each in STACK), "training.tokens=32")
    assert "test accuracy " in output
    assert "test macro_f1 " in output
    folder = Path("runs/sentiment-sample")
    labels = json.loads((folder / "model" / "task" / "target_tokenizer" / "labels.json").read_text())
    assert set(labels) == {"positive", "negative", "neutral"}
    answers = done("classify", folder, text=INPUTS).split("\n")
    assert [answer in labels for answer in answers] == [True, False, True, False]
    rows = done("classify", folder, "--nbest", "3", text=INPUTS).split("\n")
    first = [row.split("\t") for row in rows if row.startswith("1\t")]
    assert [row[1] for row in first] == ["1", "2", "3"]
    assert first[0][3] == answers[0]
    assert 1 > float(first[0][2]) >= float(first[1][2]) > 0
    found = [json.loads(row) for row in done("classify", folder, "--json", text=INPUTS).splitlines()]
    assert math.exp(found[0]["logprob"]) == pytest.approx(float(first[0][2]), abs=1e-4)
    for arguments in (["search.size=3"], ["search=greedy", "--nbest", "2"]):
        error = refused("classify", folder, *arguments)
        assert error == f"{arguments[0]}: the task of this model does not use a search; leave it out\n"
    before = done("classify", folder, "--json", text=INPUTS)
    make_model_of_an_earlier_version(folder / "model")
    assert done("classify", folder, "--json", text=INPUTS) == before


def make_model_of_an_earlier_version(folder: Path) -> None:
    """Add the output after the label, which predicted EOS, and the search for the label."""
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "after": torch.ones(4)}, folder / "model.safetensors")
    recipe = folder / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8").replace("search: null\n", "search: {type: beam, alpha: 0}\n")
    assert "beam" in text
    recipe.write_text(text, encoding="utf-8")
    Manifest.seal(folder, FORMAT)


def test_tagger_is_trained_and_tags() -> None:
    output = run("tagging", *(f"model.encoder.{each}" for each in STACK), "training.tokens=100")
    assert "test span_f1 " in output
    assert "test tag_accuracy " in output
    tags = done("tag", "runs/tagging-sample", text="The man sleeps .\n\nWe sleep .\n").split("\n")
    assert [len(line.split()) for line in tags] == [4, 0, 3, 0]
    lines = done("tag", "runs/tagging-sample", "--columns", text="The man sleeps .\n").splitlines()
    assert lines == [
        *(f"{word}\t{tag}" for word, tag in zip(["The", "man", "sleeps", "."], tags[0].split(), strict=True)),
        "",
    ]
    check_tags_of_columns(*(line.split() for line in (tags[0], tags[2])))
    error = refused("tag", "runs/tagging-sample", "search.size=2")
    assert error == "search.size=2: the task of this model does not use a search; leave it out\n"
    assert "this is a model of the task Tagging, but seqx parse" in refused("parse", "runs/tagging-sample")


def check_tags_of_columns(first: list[str], second: list[str]) -> None:
    """Check that `seqx tag` adds the tags of two sentences to CoNLL's columns, and keeps all other lines."""
    command = ("tag", "runs/tagging-sample", "--input-format", "conll")
    rows = [
        "# no 1",
        "The DT",
        "man NN",
        "sleeps V",
        ". .",
        "",
        "",
        "We\tPRP",
        "sleep\tV",
        ".\t.",
        "",
        "# end",
    ]
    output = done(*command, text="\n".join(rows) + "\n").split("\n")
    tags = ["", *(f" {tag}" for tag in first), "", "", *(f"\t{tag}" for tag in second), "", "", ""]
    assert output == [row + tag for row, tag in zip([*rows, ""], tags, strict=True)]
    swapped = "DT\tThe\nNN\tman\nV\tsleeps\n.\t.\n"
    answers = done(*command, "--words", "1", text=swapped).splitlines()
    assert [line.split("\t")[2] for line in answers] == first
    result = seqx(*command, "--words", "1", text="The DT\nman NN\n\nWe\n")
    assert (result.exit_code, len(result.stdout.splitlines())) == (2, 2)
    assert result.stderr == (
        "standard input:4: the line has no column 1 for the word: 'We'; correct the line, or set --words\n"
    )
    assert "--input-format conll cannot be combined with --json" in refused(*command, "--json")
    assert "--words needs --input-format conll" in refused("tag", "runs/tagging-sample", "--words", "1")
    error = refused("tag", "runs/tagging-sample", "--trace", "trace.jsonl")
    assert error == "--trace: the task of this model does not use a search; leave it out\n"
    assert not Path("trace.jsonl").exists()
