"""`seqx translate` with constraints: an answer meets them, or it is empty and reported."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import seqx
from seqx_translation.command import translate
from tests.models import RECIPE, write_model

LINES = ["The old man sees the house.", "", "Ärger über Öl…", "The dog sleeps."]
PREFIXES = ["Der alte Ma", "", "„Öl", "Die Hündin "]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "m", text=RECIPE.replace("extra: 4", "extra: 18"))


def call(text: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(translate, [str(argument) for argument in arguments], input=text)


def outputs(result: Result) -> list[str]:
    assert result.exit_code == 0, result.exception
    return result.stdout.split("\n")[:-1]


def occurs(phrase: str, text: str) -> bool:
    return re.search(rf"(?<![0-9A-Za-zÀ-\u1fff]){re.escape(phrase)}(?![0-9A-Za-zÀ-\u1fff])", text) is not None


@pytest.mark.parametrize(
    "search", ["search=greedy", "search.size=5", "search=sampling", "task.max_length=24"]
)
def test_prefix_file_has_one_prefix_per_line(model: Path, tmp_path: Path, search: str) -> None:
    file = tmp_path / "prefixes"
    file.write_text("\n".join(PREFIXES) + "\n", encoding="utf-8")
    found = outputs(call("\n".join(LINES), model, search, "--prefix", file))
    assert all(text.startswith(prefix) for text, prefix in zip(found, PREFIXES, strict=True))
    assert found[1] == ""
    everywhere = outputs(call("\n".join(LINES), model, search, "--prefix", file, "--prefix-all", "Und"))
    assert everywhere == found


def test_prefix_of_a_json_line_replaces_that_of_the_file(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "prefixes"
    file.write_text("Die\nUnd\n", encoding="utf-8")
    rows = [{"text": LINES[0], "prefix": "Der"}, {"text": LINES[0]}]
    found = outputs(call("\n".join(map(json.dumps, rows)), model, "--json-input", "--prefix", file))
    assert [text[:3] for text in found] == ["Der", "Und"]


def test_prefix_may_end_within_a_symbol(model: Path) -> None:
    """If the prefix is the beginning of an answer, the search finds this answer or a better one."""
    predictor = seqx.load(model, overrides=["search.size=30", "search.nbest=10"])
    (free,) = predictor.hypotheses([seqx.Request(input=LINES[0], prefix="Der")])
    whole = [(text, hypothesis) for text, hypothesis in free if "\ufffd" not in text]
    asked = [(text[:end], found) for text, found in whole for end in range(4, min(len(text), 24), 3)]
    assert len(asked) > 20
    requests = [seqx.Request(input=LINES[0], prefix=prefix) for prefix, _ in asked]
    for (prefix, hypothesis), answers in zip(asked, predictor.hypotheses(requests), strict=True):
        assert all(answer.startswith(prefix) for answer, _ in answers)
        assert answers[0][1].score >= hypothesis.score - 1e-4


def test_translations_obey_required_and_forbidden_phrases(model: Path) -> None:
    options = ["--require", "Hund", "--require", "der Mann", "--forbid", "e", "--forbid", "."]
    result = call("\n".join(LINES), model, "--nbest", "3", *options)
    rows = [row.split("\t") for row in outputs(result)]
    assert {row[0] for row in rows} == {"1", "2", "3", "4"}
    for number, _, _, text in rows:
        if number != "2":
            assert occurs("Hund", text), text
            assert occurs("der Mann", text)
            assert not occurs("e", text)
            assert "." not in text


def test_json_input_constrains_each_line_separately(model: Path) -> None:
    """Each line has its own constraints and the same answer as on its own."""
    asked: list[dict[str, Any]] = [
        {"text": LINES[0], "prefix": "Der", "require": ["Hund"], "forbid": ["Katze"]},
        {"text": LINES[3]},
        {"text": LINES[3], "require": ["schläft", "Öl"]},
        {"text": LINES[0], "forbid": ["Mann"]},
        {"text": ""},
        {"text": LINES[2], "prefix": "中"},
    ]
    lines = [json.dumps(one) for one in asked]
    result = call("\n".join(lines), model, "--json-input", "--json", "--precision", "fp32")
    rows = [json.loads(row) for row in outputs(result)]
    assert [row["input"] for row in rows] == [one["text"] for one in asked]
    for line, row in zip(lines, rows, strict=True):
        (alone,) = outputs(call(line, model, "--json-input", "--json", "--precision", "fp32"))
        assert json.loads(alone)["output"] == row["output"]
    assert rows[0]["output"].startswith("Der")
    assert occurs("Hund", rows[0]["output"])
    assert rows[1]["output"] == outputs(call(LINES[3], model))[0]
    assert all(occurs(phrase, rows[2]["output"]) for phrase in ("schläft", "Öl"))
    assert rows[5]["output"].startswith("中")


def test_impossible_constraint_has_no_answer_and_is_reported(model: Path) -> None:
    asked = [
        {"text": LINES[0], "require": ["Hund"], "forbid": ["Hund"]},
        {"text": LINES[3]},
        {"text": LINES[3], "prefix": "Donau" * 90},
    ]
    result = call("\n".join(map(json.dumps, asked)), model, "--json-input")
    assert [bool(text) for text in outputs(result)] == [False, True, False]
    assert result.stderr == (
        "2 of 3 lines have no answer (lines 1, 3): the search found none that meets all constraints within "
        "its limit; use fewer constraints, raise search.extra or search.size, or check that the vocabulary "
        "has their characters\n"
    )


@pytest.mark.isa
def test_constraints_are_met_by_ensembles_in_each_precision(model: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", seed=2, vocabulary=model / "task")
    for precision in ("fp32", "bf16"):
        options = ["--require", "Hund", "--prefix-all", "Die Fra", "--precision", precision]
        found = outputs(call("\n".join(LINES), model, other, *options))
        assert all(occurs("Hund", text) and text.startswith("Die Fra") for text in found if text)
        assert sum(map(bool, found)) == 3


def test_first_part_of_a_split_line_has_the_prefix(model: Path) -> None:
    long = "The old man sees the house. The dog sleeps. The woman reads the book in the garden."
    result = call(long, model, "--prefix-all", "Also", "--require", "Haus", "--forbid", "Hund")
    (text,) = outputs(result)
    assert text.startswith("Also")
    assert occurs("Haus", text)
    assert not occurs("Hund", text)
    assert "answered in parts" in result.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("The dog sleeps.", "standard input:2: not JSON"),
        ('["a"]', 'standard input:2: write an object with a string as its "text"'),
        ('{"prefix": "Der"}', 'standard input:2: write an object with a string as its "text"'),
        ('{"text": "a", "requires": ["b"]}', "standard input:2: unknown key 'requires'"),
        ('{"text": "a", "prefix": 3}', 'standard input:2: "prefix" must be a string'),
        ('{"text": "a", "forbid": "b"}', "standard input:2: 'forbid' must be a list of non-empty strings"),
        (
            '{"text": "a", "require": [" "]}',
            "standard input:2: 'require' must be a list of non-empty strings",
        ),
    ],
)
def test_malformed_json_request_ends_the_answers(model: Path, line: str, message: str) -> None:
    result = call(f'{{"text": "The dog sleeps."}}\n{line}\n', model, "--json-input")
    assert result.stdout.count("\n") == 1
    assert isinstance(result.exception, seqx.UserError)
    assert str(result.exception).startswith(message)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"require": [f"w{i}" for i in range(9)]}, "an answer has 9 required phrases; the maximum is 8"),
        ({"forbid": [f"word{i}" for i in range(1000)]}, "the maximum is 4,096"),
    ],
)
def test_invalid_constraint_is_reported_with_its_line(
    model: Path, asked: Mapping[str, Sequence[str]], message: str
) -> None:
    rows = [{"text": "The dog sleeps.", "forbid": ["x"]}, {"text": "a " * 30, **asked}, {"text": "The dog."}]
    result = call("".join(f"{json.dumps(row)}\n" for row in rows), model, "--json-input")
    assert result.stdout.count("\n") == 1
    assert isinstance(result.exception, seqx.UserError)
    assert str(result.exception).startswith("standard input:2: ")
    assert message in str(result.exception)


def test_invalid_constraint_options_are_reported(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "prefixes"
    file.write_text("Der\nDie\n", encoding="utf-8")
    many = [word for i in range(9) for word in ("--require", f"w{i}")]
    for text, options, message in (
        ("a\n", ["--prefix", file], "has more lines than standard input, which has 1"),
        ("a\nb\nc\n", ["--prefix", file], "has 2 lines, and standard input has more"),
        ("a\n", ["--prefix", tmp_path / "none"], "cannot be read"),
        ("a\n", ["--require", " "], "--require: a phrase is empty"),
        ("a\n", many, "an answer has 9 required phrases; the maximum is 8"),
    ):
        error = call(text, model, *options).exception
        assert isinstance(error, seqx.UserError), error
        assert message in str(error)
    recipe = RECIPE.replace("size: 400", "size: 200, byte_fallback: false")
    without = write_model(tmp_path / "without", text=recipe)
    error = call("a\n", without, "--prefix-all", "Der 中").exception
    assert "'Der 中' has a character that the model's vocabulary cannot write" in str(error)


def test_normalizers_apply_to_constraints(tmp_path: Path) -> None:
    text = RECIPE.replace("metrics", "target_normalizers: [lowercase]\n  metrics")
    text = text.replace("extra: 4", "extra: 18")
    model = write_model(tmp_path / "lower", text=text)
    (found,) = outputs(call(LINES[0], model, "--prefix-all", "Der", "--require", "Hund"))
    assert found.startswith("der")
    assert occurs("hund", found)
