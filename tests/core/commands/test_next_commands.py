"""A finished run prints commands that use its model; those of the task come from its plugin."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqx.commands import next_commands
from seqx.commands.loading import CheckedRecipe, load_checked
from seqx.data.prepare import no_progress
from seqx.errors import Location

RECIPES = {
    "wmt_en_de": "translate",
    "wsj_parsing": "parse --draw",
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
    sentences = "" if recipe == "language_model" else " --sentences answers.jsonl"
    assert evaluate == f"seqx evaluate 'runs/my run/model'{sentences}"


def test_next_commands_trust_local_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """`compare` scores outputs with the task of the run, which may need its local plugins."""
    monkeypatch.setattr(next_commands, "_other_run", lambda _: Path("runs/other"))
    checked = load_checked("sentiment", "sample")
    plugins = {Path("plugins/mine.py"): Location("mine.yaml", 1, 1)}
    checked = replace(checked, recipe=replace(checked.recipe, plugins=plugins))
    found = [*next_commands.next_commands(checked, Path("runs/mine"))]
    assert "seqx compare runs/other runs/mine --trust-local-plugins" in found
    assert "seqx report runs/mine" in found


def own_run(folder: Path, **texts: str) -> CheckedRecipe:
    """Write the corpus and the vocabulary of a run of text classification, and return its recipe."""
    for split, text in texts.items():
        (folder / f"{split}.text").write_text(text)
        (folder / f"{split}.label").write_text("label\n" * text.count("\n"))
    names = {split: [str(folder / f"{split}.{end}") for end in ("text", "label")] for split in texts}
    corpus = json.dumps({"type": "files", "dev": [], "test": [], **names})
    overrides = [f"task.corpus={corpus}", "task.tokenizer={type: chars}"]
    checked = load_checked("sentiment", None, overrides)
    task: Any = checked.configured.settings["task"]
    (folder / "model" / "task").mkdir(parents=True)
    task().learn(folder / "model" / "task", no_progress)
    return checked


@pytest.mark.parametrize("split", ["test", "dev"])
def test_next_commands_answer_a_short_line_of_the_own_text(split: str, tmp_path: Path) -> None:
    lines = [
        "Hi.",
        "this line has many more words than it needs",
        "-n is no option of it",
        "is it your $HOME's dog?",
    ]
    checked = own_run(tmp_path, **{"train": "not this line of text\n", split: "\n".join(lines) + "\n"})
    first, *_ = next_commands.next_commands(checked, tmp_path)
    echo = first.partition(" | ")[0]
    shown = subprocess.run(["sh", "-c", echo], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert shown == "is it your $HOME's dog?\n"


def test_next_commands_ask_for_text_if_the_corpus_is_gone(tmp_path: Path) -> None:
    checked = own_run(tmp_path, train="a line of the text\n", test="a line of the text\n")
    (tmp_path / "test.text").unlink()
    first, *_ = next_commands.next_commands(checked, tmp_path)
    assert first.startswith("echo 'Write your own text here.' |")


def test_next_commands_name_the_program_that_the_user_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = [tmp_path / folder / "seqx" for folder in ("my {env}", "other")]
    for program in programs:
        program.parent.mkdir()
        program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(programs[0]), "run"])
    monkeypatch.setenv("PATH", str(programs[0].parent))
    assert next_commands.shell_name() == "seqx"
    for path in ("", str(programs[1].parent)):
        monkeypatch.setenv("PATH", path)
        first, evaluate, *_ = commands("tagging", Path("seqx run"))
        assert f" | '{programs[0]}' tag --columns 'seqx run/model'" in first
        assert evaluate.startswith(f"'{programs[0]}' evaluate 'seqx run/model' ")


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
