"""The commands `explain` and `diff`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqx.cli import main

PARENT = """\
extends: wmt_en_de
published: {source: "Someone 2020", test: {bleu: 30}}
training: {tokens: 7000}
profiles:
  short: {training: {steps: 5, average: 1}}
"""
CHILD = """\
extends: parent.yaml
published: null
training:
  tokens: 8000
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("parent.yaml").write_text(PARENT)
    Path("child.yaml").write_text(CHILD)


def output(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_explain_shows_value_origin_allowed_values_and_the_published_value() -> None:
    lines = output("explain", "child.yaml", "training.tokens").splitlines()
    assert lines[:2] == ["training.tokens: 8000", "  origin: child.yaml:4"]
    assert lines[2].startswith("  allowed: int > 0")
    assert lines[3].startswith("  help: ")
    assert lines[4:] == ["  published: 7000 (Someone 2020)"]


def test_explain_reads_a_recipe_whose_parent_is_incomplete() -> None:
    """A parent may have the settings that several recipes share, and no model."""
    Path("shared.yaml").write_text("training: {steps: 70000}\n")
    rest = [line for line in output("show", "child.yaml").splitlines() if not line.startswith("  steps:")]
    Path("whole.yaml").write_text("\n".join(["extends: shared.yaml", *rest]))
    assert output("explain", "whole.yaml", "training.steps").splitlines()[:2] == [
        "training.steps: 70000",
        "  origin: shared.yaml:1",
    ]


def test_explain_shows_profiles_overrides_and_defaults() -> None:
    steps = ["parent.yaml", "training.steps", "--profile", "short", "--json"]
    assert json.loads(output("explain", *steps))["origin"] == "parent.yaml:5, profile short"
    assert json.loads(output("explain", *steps, "training.steps=9"))["origin"] == "command line"
    assert json.loads(output("explain", "parent.yaml", "training.seed", "--json"))["origin"] == "default"


def test_explain_shows_the_documentation_of_a_component() -> None:
    facts = json.loads(output("explain", "child.yaml", "model.encoder", "--json"))
    assert (facts["component"], facts["value"]["layers"]) == ("transformer", 6)
    assert facts["settings"]["layers"]
    text = output("explain", "child.yaml", "callbacks.0")
    assert "component: progress" in text
    assert "callbacks.0.seconds: minimum seconds" in text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("training.token", "training.token: training has no setting 'token'; did you mean 'tokens'?"),
        ("trainin", "trainin: the recipe has no setting 'trainin'; did you mean 'training'?"),
        ("callbacks.9", "callbacks.9: callbacks has no setting '9'"),
        ("", ": the recipe has no setting ''"),
        ("training.ema.rate", "training.ema.rate: training.ema is null in this recipe and has no settings"),
        ("training.steps.x", "training.steps.x: training.steps is "),
    ],
)
def test_explain_names_a_setting_that_does_not_exist(path: str, message: str) -> None:
    assert output("explain", "child.yaml", path, code=2).startswith(message)


def test_diff_shows_differences_of_recipes_with_their_origins() -> None:
    text = output("diff", "child.yaml", "parent.yaml@short")
    tokens = "training.tokens:\n  - 8000  # child.yaml:4\n  + 7000  # parent.yaml:3\n"
    assert tokens in text
    assert "  + 5  # parent.yaml:5, profile short\n" in text
    assert output("diff", "child.yaml", "child.yaml") == "child.yaml and child.yaml have the same settings\n"


def test_diff_reads_the_recipes_of_runs_and_models() -> None:
    for folder in ("run", "other/model"):
        Path(folder).mkdir(parents=True)
        Path(folder, "environment.json").write_text("{}")
        Path(folder, "recipe.yaml").write_text(output("show", "child.yaml"))
    assert output("diff", "run", "other") == "run and other have the same settings\n"
    file = Path("other/model/recipe.yaml")
    file.write_text(file.read_text().replace("tokens: 8000", "tokens: 9000"))
    (row,) = json.loads(output("diff", "run", "other/model", "--json"))
    assert (row["setting"], row["values"]) == ("training.tokens", [8000, 9000])
    assert row["origins"][1].startswith("other/model/recipe.yaml:")
    (same,) = json.loads(output("diff", "child.yaml", "other", "--json"))
    assert same["origins"][0] == "child.yaml:4"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nowhere", "child.yaml"], "no recipe is called 'nowhere'"),
        (["child.yaml", "."], ".: has no recipe.yaml; name a recipe, a run folder or a model folder"),
        (["child.yaml", "child.yaml@long"], "parent.yaml:4:1: no profile is called 'long'"),
    ],
)
def test_diff_names_what_it_cannot_read(names: list[str], message: str) -> None:
    assert output("diff", *names, code=2).startswith(message)
