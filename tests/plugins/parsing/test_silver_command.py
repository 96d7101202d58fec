"""`seqx trees silver` writes the trees that several parsers agree on."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import seqx
from seqx_parsing import silver_command
from seqx_parsing.agreement import ParserAgreement
from seqx_parsing.trees_command import trees
from tests.models import RECIPE, write_model

PARSER = """\
task:
  type: parsing
  corpus: {type: sample, columns: [tree], train: 300, dev: 6, test: 6}
  tokenizer: {type: sentencepiece, model: unigram, size: 400}
  linearisation: top_down
  tags: predicted
  metrics: [evalb]
  max_length: 60
model:
  type: tagging
  inner:
    type: encoder_decoder
    d_model: 16
    encoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
    decoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
search: {type: greedy, ratio: 2, extra: 9}
"""
LINES = ["The dog sleeps .", "", "Stop !", "  ", "Anna ( the baker ) laughs", "Go", "very " * 80, "Stop !"]
SENTENCES = ["The dog sleeps .", "Stop !", "Anna ( the baker ) laughs", "Go", "Stop !"]

Call = Callable[..., Result]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a parser, a copy of it, and two other parsers, one with the in-order linearisation."""
    place = tmp_path_factory.mktemp("models")
    first = write_model(place / "first", text=PARSER)
    shutil.copytree(first, place / "copy")
    write_model(place / "second", text=PARSER, seed=1)
    write_model(place / "third", text=PARSER.replace("top_down", "in_order"), seed=2)
    return [place / name for name in ("first", "copy", "second", "third")]


@pytest.fixture
def call() -> Call:
    def run(*arguments: str | Path, text: str | bytes = "\n".join(LINES)) -> Result:
        return CliRunner().invoke(trees, ["silver", *map(str, arguments)], input=text)

    return run


def test_silver_keeps_every_sentence_of_identical_models(call: Call, models: list[Path]) -> None:
    result = call(*models[:2])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == seqx.load(models[0])(SENTENCES)
    assert result.stderr == (
        "sentences: 5, 3.0 words on average; the models agree on 5 (100.0%), 3.0 words on average; "
        "F1 between the models: 100.00\n"
        "1 sentence was skipped because of its length\n"
    )


def test_silver_keeps_sentences_with_the_same_trees(
    call: Call, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [models[0], models[2], models[3]]
    expected = ParserAgreement()
    answers = [seqx.load(model)(SENTENCES) for model in chosen]
    kept = [tree for tree in map(expected.add, zip(*answers, strict=True)) if tree]
    assert 0 < expected.f1 < 100
    for window in (1, 3, 2048):
        monkeypatch.setattr(silver_command, "WINDOW", window)
        result = call(*chosen)
        assert result.stdout.splitlines() == kept
        assert result.stderr.splitlines()[0] == str(expected)


def test_silver_applies_settings_to_all_models(call: Call, models: list[Path]) -> None:
    result = call(*models[:2], "task.tags=none", "--min-words", "2", "--max-words", "4")
    tags = {tag for tree in result.stdout.splitlines() for tag in re.findall(r"\((\S+) [^( ]", tree)}
    assert tags == {"XX"}
    assert len(result.stdout.splitlines()) == 3
    assert "3 sentences were skipped because of their length" in result.stderr


def test_silver_reads_raw_text_and_given_tags(call: Call, models: list[Path]) -> None:
    raw = call(*models[:2], "--raw", text="The dog sleeps.\n")
    assert raw.stdout == call(*models[:2], text="The dog sleeps .\n").stdout
    given = call(*models[:2], "task.tags=given", text="The_DT dog_NN\n").stdout
    assert "(DT The)" in given
    assert "(NN dog)" in given


def test_silver_warns_of_running_text_without_raw(call: Call, models: list[Path]) -> None:
    errors = call(*models[:2], text="A dog sleeps.\n").stderr
    for parser in ("first", "copy"):
        assert f"{parser}: 1 of 1 inputs look like running text: punctuation is attached to words" in errors


def test_silver_splits_text_in_other_languages(call: Call, models: list[Path]) -> None:
    pytest.importorskip("sentencex")
    split = call(*models[:2], "--sentences", "--language", "de", text="Am 3. Mai. Müllers „Hund“!\n\n")
    words = call(*models[:2], text="Am 3. Mai .\nMüllers „ Hund “ !\n")
    assert (split.stdout, split.stderr) == (words.stdout, words.stderr)
    assert split.stdout.count("\n") == 2


def test_silver_reports_repairs(call: Call, models: list[Path]) -> None:
    result = call(models[0], models[2], "task.constrained=false")
    assert re.search(
        r"^.+/first: \d of 5 outputs were not valid trees over the words", result.stderr, re.MULTILINE
    )
    assert re.search(r"^.+/second: ", result.stderr, re.MULTILINE)


def test_silver_writes_the_trees_before_a_malformed_line(
    call: Call, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silver_command, "WINDOW", 1)
    result = call(*models[:2], text=b"Go\nStop !\nk\xe4se\n")
    assert isinstance(result.exception, seqx.UserError)
    assert "standard input:3: byte 2 of the line is not UTF-8" in str(result.exception)
    assert result.stdout.count("\n") == 2
    assert result.stderr.startswith("sentences: 2, 1.5 words on average; the models agree on 2 (100.0%)")


def test_silver_without_input(call: Call, models: list[Path]) -> None:
    result = call(*models[:2], text="\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "there were no sentences\n")


def test_silver_rejects_invalid_models(call: Call, models: list[Path], tmp_path: Path) -> None:
    for names in (models[:1], [models[0], models[1], f"{models[0]}/../first"]):
        result = call(*names)
        assert result.exit_code == 2
        assert "name at least two different models" in result.stderr
    translator = write_model(tmp_path / "translator", text=RECIPE)
    result = call(models[0], translator)
    assert str(result.exception) == (
        f"{translator}: the task of this model is not parsing; name models that parse"
    )
    assert "there is no such folder" in str(call(models[0], "nowhere").exception)


def test_parsers_with_different_linearisations_form_no_ensemble(models: list[Path]) -> None:
    """The models have the same symbols, but different linearisations."""
    for first, second in ((models[0], models[3]), (models[3], models[0])):
        with pytest.raises(seqx.UserError, match=r"have different vocabularies \(task/symbols.json\)"):
            seqx.load([first, second])
