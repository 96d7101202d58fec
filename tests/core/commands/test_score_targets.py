"""`seqx score --model` prints the log-probabilities of given targets."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import seqx
from tests.models import PARSING, RECIPE, write_model
from tests.stories.tiny import done
from tests.stories.tiny import seqx as command

SOURCES = ["The old man sees the house.", "The dog sleeps.", "", "xyz ä"]
TARGETS = ["Der alte Mann sieht das Haus.", "Der Hund schläft.", "", "xyz"]
LANGUAGE_MODEL = """\
task:
  type: language_model
  corpus: {type: sample, train: 300, dev: 6, test: 6}
  tokenizer: {type: sentencepiece, model: bpe, size: 400}
  max_length: 24
model:
  type: decoder_only
  d_model: 16
  decoder: {type: transformer, use_source: false, layers: 1, attention: {type: multihead, heads: 2}}
search: {type: beam, size: 2, extra: 4}
"""
CLASSIFICATION = """\
task:
  type: classification
  corpus: {type: sample, columns: [en, sentiment], train: 300, dev: 6, test: 6}
  tokenizer: {type: sentencepiece, model: bpe, size: 400}
  metrics: [accuracy]
model:
  type: classifier
  d_model: 16
  encoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("score")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        write_model(path / "m")
        Path("s").write_text("\n".join(SOURCES) + "\n", "utf-8")
        Path("t").write_text("\n".join(TARGETS) + "\n", "utf-8")
        yield path


def score(*arguments: str) -> str:
    return done("score", "--device", "cpu", "--precision", "fp32", *arguments)


def logprobs_by_prefix(predictor: seqx.Predictor, source: list[int], target: list[int]) -> list[float]:
    """Return the log-probability of each token, computed from one forward pass for each prefix."""

    def column(ids: list[int]) -> seqx.Column:
        return seqx.Column.of(torch.tensor([ids]), torch.tensor([len(ids)]))

    values = []
    for end in range(1, len(target) + 1):
        batch = seqx.Batch({"source": column(source), "target": column(target[:end])}, end)
        with torch.no_grad():
            logits = predictor.model.head(predictor.model(batch))[0, -1]
        values.append(float(logits.double().log_softmax(0)[target[end - 1]]))
    return values


def test_score_prints_the_log_probability_of_each_token(folder: Path) -> None:
    predictor = seqx.load(folder / "m", device="cpu", precision="fp32")
    rows = [json.loads(row) for row in score("--model", "m", "--json", "--tokens", "s", "t").splitlines()]
    assert [(row["source"], row["target"]) for row in rows] == list(zip(SOURCES, TARGETS, strict=True))
    for row in rows:
        example = predictor.task.example((row["source"], row["target"]), training=False)
        assert isinstance(example, seqx.Example)
        expected = logprobs_by_prefix(predictor, example.columns["source"], example.columns["target"])
        assert [token["logprob"] for token in row["tokens"]] == pytest.approx(expected, abs=1e-4)
        assert row["logprob"] == pytest.approx(sum(expected), abs=1e-4)
        symbols = [token["symbol"] for token in row["tokens"]]
        assert symbols[-1] == "</s>"
        assert "".join(symbols[:-1]).replace("▁", " ").strip() == row["target"] or "<0x" in "".join(symbols)


def test_score_prints_one_line_for_each_target(folder: Path) -> None:
    result = command("score", "--device", "cpu", "--precision", "fp32", "--model", "m", "s", "t")
    rows = [json.loads(row)["logprob"] for row in score("--model", "m", "--json", "s", "t").splitlines()]
    assert [float(line) for line in result.stdout.splitlines()] == pytest.approx(rows, abs=1e-3)
    tokens = [line.split("\t") for line in score("--model", "m", "--tokens", "s", "t").splitlines()]
    for number, logprob in enumerate(rows, 1):
        of_line = [row for row in tokens if row[0] == str(number)]
        assert [int(row[1]) for row in of_line] == list(range(1, len(of_line) + 1))
        assert sum(float(row[3]) for row in of_line) == pytest.approx(logprob, abs=1e-2)
    perplexity = math.exp(-sum(rows) / len(tokens))
    found = re.fullmatch(
        rf"log-probability (\S+) of 4 targets with {len(tokens)} tokens; perplexity (\S+) per token\n",
        result.stderr,
    )
    assert found
    assert [float(value) for value in found.groups()] == pytest.approx([sum(rows), perplexity], rel=1e-3)


@pytest.mark.parametrize("text", [RECIPE, PARSING, LANGUAGE_MODEL])
def test_scores_of_targets_are_those_of_beam_search(text: str, tmp_path: Path) -> None:
    predictor = seqx.load(write_model(tmp_path / "m", text=text), device="cpu", precision="fp32")
    compared = 0
    inputs = ["The old man sees the house .", "The dog sleeps ."]
    for source, nbest in zip(inputs, predictor.hypotheses(inputs), strict=True):
        for _, hypothesis in nbest:
            columns = {**predictor.task.read(source), "target": predictor.task.target_column(hypothesis.ids)}
            (tokens,) = predictor.token_logprobs([seqx.Example(columns=columns)])
            assert tokens is not None
            assert sum(tokens) == pytest.approx(hypothesis.logprob, abs=1e-4)
            compared += 1
    assert compared >= 2


def test_score_takes_a_language_model_and_one_file(folder: Path) -> None:
    write_model(folder / "lm", text=LANGUAGE_MODEL)
    values = [float(line) for line in score("--model", "lm", "t").splitlines()]
    predictor = seqx.load("lm", device="cpu", precision="fp32")
    examples = [predictor.task.example((f"{line}\n",), training=False) for line in TARGETS]
    assert values == pytest.approx(predictor.logprobs(examples), abs=1e-3)  # type: ignore[arg-type]
    result = command("score", "--model", "lm", "s", "t")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "t:1: the model is a language model, which has no source; name one file, TEXT\n"


def test_evaluate_refuses_a_file_of_answers_of_a_language_model(folder: Path) -> None:
    """The command says so before it computes the scores, which it would not print."""
    write_model(folder / "evaluated", text=LANGUAGE_MODEL)
    result = command("evaluate", "evaluated", "--sentences", "answers.jsonl")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "--sentences: the task LanguageModel has no scores of single answers; leave it out\n"
    )
    assert not Path("answers.jsonl").exists()


def test_score_takes_a_parser_with_trees(folder: Path) -> None:
    write_model(folder / "p", text=PARSING)
    trees = ["(TOP (S (NP (DT The) (NN dog)) (VP (VBZ sleeps))))", "(TOP (NP (NN dog)))"]
    Path("trees").write_text("\n".join(trees) + "\n")
    Path("words").write_text("The dog sleeps\ndog\n")
    Path("others").write_text("The dog sleeps\ncat\n")
    alone = score("--model", "p", "trees")
    assert score("--model", "p", "words", "trees") == alone
    assert all(float(line) < 0 for line in alone.splitlines())
    result = command("score", "--model", "p", "others", "trees")
    assert result.stderr.startswith("trees:2: the words of the tree are not those of the sentence")
    result = command("score", "--model", "p", "words", "words")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("words:1: 'The' is outside of all brackets; remove it, or put it into a")


def test_score_takes_a_classifier_with_labels(folder: Path) -> None:
    write_model(folder / "c", text=CLASSIFICATION)
    predictor = seqx.load("c", device="cpu", precision="fp32", num_answers=9)
    answers = next(iter(predictor.hypotheses([SOURCES[0]])))
    Path("source").write_text(f"{SOURCES[0]}\n" * len(answers))
    Path("labels").write_text("".join(f"{label}\n" for label, _ in answers))
    rows = [json.loads(row) for row in score("--model", "c", "--json", "source", "labels").splitlines()]
    # the classifier's answer is one of the labels, but a target may also be a special symbol
    others = [
        row["logprob"] - candidate.hypothesis.logprob for row, candidate in zip(rows, answers, strict=True)
    ]
    assert len(rows) > 1
    assert max(others) - min(others) < 1e-4
    assert max(others) <= 0
    Path("labels").write_text("positive\nunknown\n" + "neutral\n" * (len(answers) - 2))
    result = command("score", "--model", "c", "source", "labels")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "labels:2: the model has no label 'unknown'; correct or remove the line\n"


def test_score_reports_targets_that_are_too_long(folder: Path) -> None:
    Path("long").write_text("\n".join([TARGETS[0], "Mann " * 80, "", ""]) + "\n")
    result = command("score", "--device", "cpu", "--model", "m", "s", "long")
    assert [line == "nan" for line in result.stdout.splitlines()] == [False, True, False, False]
    message = "1 of 4 targets cannot be scored: they are empty, or have more than 24 tokens\n"
    assert result.stderr.startswith(message)


def test_score_with_a_model_needs_as_many_sources_as_targets(folder: Path) -> None:
    Path("short").write_text("Der Hund.\n")
    for files, name in (("s short", "short"), ("short t", "short")):
        result = command("score", "--model", "m", *files.split())
        assert result.exit_code == 2
        message = "has 1 lines, fewer than another file; line i of one file belongs to line i of the others"
        assert result.stderr == f"{name}: {message}\n"
