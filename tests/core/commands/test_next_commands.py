"""A finished run prints commands that use its model; those of the task come from its plugin."""

from pathlib import Path

import pytest

from seqx.commands import next_commands
from seqx.commands.loading import load_checked

RECIPES = {
    "wmt_en_de": "translate",
    "wsj_parsing": "parse --raw --draw",
    "language_model": "generate",
    "sentiment": "classify",
    "tagging": "tag --columns",
    "text_to_text": "answer",
}

RECIPE_OF_RUN = """
task: {type: tagging, target: 1, tokenizer: {type: symbols}, corpus: {type: files, train: a, dev: b, test: c}}
"""


def commands(recipe: str, folder: Path) -> list[str]:
    return [*next_commands.next_commands(load_checked(recipe, "sample"), folder)]


@pytest.mark.parametrize(("recipe", "command"), RECIPES.items())
def test_next_commands_are_those_of_the_task(recipe: str, command: str) -> None:
    first, evaluate, *_ = commands(recipe, Path("runs/my run"))
    assert first.startswith("echo ")
    assert first.endswith(f" | seqx {command} 'runs/my run/model'")
    assert evaluate == "seqx evaluate 'runs/my run/model' --sentences answers.jsonl"


def test_next_commands_about_runs_need_their_plugin_and_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_commands, "plugin_commands", lambda: ({"report": [], "compare": []}, []))
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    (run / "recipe.yaml").write_text(RECIPE_OF_RUN)
    assert commands("tagging", run)[2:] == [f"seqx report {run}"]
    (other / "model").mkdir(parents=True)
    (other / "model" / "model.safetensors").touch()
    assert commands("tagging", run)[2:] == [f"seqx report {run}"], "the task of the other run is not known"
    (other / "recipe.yaml").write_text(RECIPE_OF_RUN.replace("train: a", "train: [b, c]"))
    assert commands("tagging", run)[2:] == [f"seqx report {run}", f"seqx compare {other} {run}"]
    monkeypatch.setattr(next_commands, "plugin_commands", lambda: ({}, []))
    assert commands("tagging", run)[2:] == []


@pytest.mark.parametrize(
    "change", [("tagging", "parsing"), ("test: c", "test: d"), ("target: 1", "target: 0")]
)
def test_next_commands_compare_no_run_of_another_task(change: tuple[str, str], tmp_path: Path) -> None:
    for name, text in (("run", RECIPE_OF_RUN), ("other", RECIPE_OF_RUN.replace(*change))):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "model.safetensors").touch()
        (tmp_path / name / "recipe.yaml").write_text(text)
    assert not [line for line in commands("tagging", tmp_path / "run") if line.startswith("seqx compare")]
