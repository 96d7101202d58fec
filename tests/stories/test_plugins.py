"""Local plugins: Python files that a recipe names."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqx import run_folder
from seqx.cli import main
from seqx.errors import UserError
from seqx.storage import atomic
from seqx.storage.json_format import FORMAT
from seqx.storage.manifest import Manifest
from tests.stories.tiny import TINY, done, lines, refused, seqx, tiny

MINE = '''\
"""A plugin with an attention."""

import seqx
import seqx_transformer


class Mine(seqx_transformer.MultiHeadAttention):
    """Multi-head attention under another name."""


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the attention."""
    registry.add(seqx.Attention, mine=Mine)
'''


def test_local_plugin_is_listed_with_its_recipe() -> None:
    Path("mine.py").write_text(MINE, encoding="utf-8")
    recipe = tiny("plugins: [./mine.py]\n" + TINY)
    assert "mine" not in done("components", "attention")
    assert ", mine\n" in done("components", "--recipe", recipe)
    shown = done("components", "attention", "--recipe", recipe).splitlines()[-1]
    assert shown.split(maxsplit=1) == ["mine", "Multi-head attention under another name."]
    assert "heads: int > 0" in done("components", "attention", "mine", "--recipe", recipe)
    assert "no recipe is called 'nowhere'" in refused("components", "--recipe", "nowhere")


@pytest.mark.promise("code-needs-trust")
def test_local_plugin_is_copied_with_the_model_and_runs_only_if_trusted(tmp_path: Path) -> None:
    folder = Path("lab")
    folder.mkdir()
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    text = "plugins: [./mine.py]\n" + TINY.replace("multihead", "mine")
    recipe = tiny(text, "lab/tiny.yaml")
    done("run", recipe, "training.steps=2")
    run = Path("runs/tiny")
    assert (run / "plugins" / "mine.py").read_text(encoding="utf-8") == MINE
    used = json.loads((run / "environment.json").read_text())["plugins"]["plugins/mine.py"]
    assert len(used["sha256"]) == 64
    assert "finished" in done("run", recipe, "training.steps=2")

    (folder / "mine.py").write_text(MINE.replace("another name", "a new name"), encoding="utf-8")
    assert refused("run", recipe, "training.steps=4") == (
        f"{run}: plugins/mine.py has changed since this run began; choose another folder (--folder) for a "
        "new run, restore its text, or resume with `seqx run --changed-plugins`\n"
    )
    assert done("run", recipe, "training.steps=2", "--changed-plugins").startswith(
        f"{run}: this run is finished; its scores from before plugins/mine.py changed (choose another "
        "--folder to train again):\n"
    )
    assert "the code of this local plugin would be run" in refused("average", run)
    (run / "plugins" / "mine.py").write_text(MINE.replace("another name", "a third name"), encoding="utf-8")
    assert "has changed since it was recorded" in refused("average", run, "--trust-local-plugins")
    (run / "plugins" / "mine.py").write_text(MINE, encoding="utf-8")
    (folder / "mine.py").unlink()

    done("average", run, "--last", "1", "--out", "mean", "--trust-local-plugins")
    moved = Path(shutil.copytree(run / "model", tmp_path / "elsewhere" / "model"))
    shutil.rmtree(run)
    for model in (moved, Path("mean")):
        assert done("translate", model, "--trust-local-plugins", text="A dog sleeps.\n").count("\n") == 1
        for verb in ("translate", "evaluate"):
            message = refused(verb, model)
            assert message.startswith(
                f"{model}/recipe.yaml:2:3: the code of this local plugin would be run; read it, then "
            )
            assert len(message.splitlines()) == 3

    for verb in ("check", "show", "run"):
        message = refused(verb, moved / "recipe.yaml")
        assert message.startswith(
            f"{moved}/recipe.yaml:2:3: the recipe of this model has local plugins, which"
        )
        assert len(message.splitlines()) == 3
    heir = tiny(f"extends: {moved}/recipe.yaml\n", "heir.yaml")
    assert "plugins of a parent recipe are not loaded; to use" in refused("check", heir)

    (moved / "plugins" / "mine.py").write_text(MINE + "\n1 / 0\n", encoding="utf-8")
    message = refused("translate", moved, "--trust-local-plugins")
    assert message.startswith(f"{moved}/plugins/mine.py: cannot be read (it has ")
    assert "copy the model again" in message
    Manifest.seal(moved, FORMAT)  # as an attacker would
    assert refused("translate", moved, "--trust-local-plugins") == (
        f"{moved}/recipe.yaml:2:3: {moved}/plugins/mine.py has changed since it was recorded "
        "(its SHA-256 differs), and was not run; restore the file, or copy the whole folder again\n"
    )


FAILING = '''\
import os

import seqx
import seqx_transformer


class Failing(seqx_transformer.MultiHeadAttention):
    """Attention that raises an error after 12 calls, or if FAILING is set."""

    calls = 0

    def forward(self, queries, positioned, memory, mask):
        Failing.calls += self.training
        if Failing.calls > 12 or "FAILING" in os.environ:
            fail(queries)
        return super().forward(queries, positioned, memory, mask)


def fail(queries):
    raise RuntimeError(f"queries\\nof {queries.dim()} dimensions")


@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Attention, failing=Failing)
'''


def test_run_resumes_after_a_failing_plugin_is_fixed(tmp_path: Path) -> None:
    Path("failing.py").write_text(FAILING, encoding="utf-8")
    recipe = tiny("plugins: [./failing.py]\n" + TINY.replace("multihead", "failing"))
    result = seqx("run", recipe)
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "\nfailing.py:20: plugin failing.py, Attention 'failing': RuntimeError: queries of 3 "
        "dimensions; `seqx --debug` shows the traceback\n"
        "runs/tiny: the checkpoint of update 4 is kept; fix the plugin, and run the same command again to "
        "continue from there (with --changed-plugins, if the plugin is a local file)\n"
    )
    debugged = CliRunner().invoke(main, ["--debug", "run", str(recipe), "--folder", "again"])
    assert "Traceback (most recent call last)" in debugged.stderr
    assert ", in fail\n" in debugged.stderr

    Path("failing.py").write_text(FAILING.replace("> 12", "> 99"), encoding="utf-8")
    assert "plugins/failing.py has changed since this run began" in refused("run", recipe)
    log = done("run", recipe, "--changed-plugins")
    assert [row["step"] for row in lines(Path("runs/tiny"), "update")][-2:] == [5, 6]
    assert "model: runs/tiny/model" in log
    copied = Path("runs/tiny/model/plugins/failing.py").read_text(encoding="utf-8")
    assert "> 99" in copied


def test_model_keeps_the_plugin_that_was_loaded_if_the_file_changes() -> None:
    edited = MINE.replace("import seqx_transformer\n", "import seqx_transformer\nfrom pathlib import Path\n")
    edited += "    Path('mine.py').write_text('1 / 0')\n"
    Path("mine.py").write_text(edited, encoding="utf-8")
    recipe = tiny("plugins: [./mine.py]\n" + TINY.replace("multihead", "mine"))
    done("run", recipe, "training.steps=2")
    assert Path("mine.py").read_text(encoding="utf-8") == "1 / 0"
    copied = Path("runs/tiny/model/plugins/mine.py")
    assert copied.read_text(encoding="utf-8") == edited
    assert done("translate", "runs/tiny", "--trust-local-plugins", text="A dog sleeps.\n").count("\n") == 1


def test_plugin_that_fails_before_the_first_checkpoint() -> None:
    Path("failing.py").write_text(FAILING.replace("> 12", "> 0"), encoding="utf-8")
    recipe = tiny("plugins: [./failing.py]\n" + TINY.replace("multihead", "failing"))
    message = refused("run", recipe)
    assert (
        "runs/tiny: no checkpoint was written yet; fix the plugin, and run the same command again to "
        "continue from the " in message
    )


def test_plugin_that_fails_in_translation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("failing.py").write_text(FAILING, encoding="utf-8")
    recipe = tiny("plugins: [./failing.py]\n" + TINY.replace("multihead", "failing"))
    done("run", recipe, "training.steps=2")
    monkeypatch.setenv("FAILING", "1")
    result = seqx("translate", "runs/tiny", "--trust-local-plugins", text="A dog sleeps.\n")
    assert result.exit_code == 2
    (message,) = result.stderr.splitlines()
    assert message.startswith(
        "runs/tiny/model/plugins/failing.py:20: plugin runs/tiny/model/plugins/failing.py, A"
    )


def test_two_local_plugins_with_one_name_are_refused() -> None:
    for folder in ("lab", "office"):
        Path(folder).mkdir()
        Path(folder, "mine.py").write_text(MINE, encoding="utf-8")
    recipe = tiny("plugins: [lab/mine.py, office/mine.py]\n" + TINY)
    assert (
        refused("run", recipe)
        == "tiny.yaml:1:11: two local plugins are called mine; rename one of the files\n"
    )


ANSWERS = '''\
"""A callback that answers with the scored model."""

from pathlib import Path

import seqx


class Answers(seqx.Callback):
    """Writes answers and scores into a file."""

    @seqx.hookimpl
    def evaluated(
        self, step: int, split: str, evaluation: seqx.Evaluation, predictor: seqx.Predictor, is_final: bool
    ) -> None:
        example = evaluation.answers[0]
        assert predictor([example.input]) == [example.output]
        self.write(f"{split} {step}{' final' * is_final}", predictor)

    @seqx.hookimpl
    def finished(self, predictor: seqx.Predictor) -> None:
        self.write("finished", predictor)

    def write(self, when: str, predictor: seqx.Predictor) -> None:
        with Path("answers.txt").open("a") as file:
            file.write(f"{when}: {predictor(['A dog sleeps.'])[0]}\\n")


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the callback."""
    registry.add(seqx.Callback, answers=Answers)
'''


def test_callback_answers_with_the_scored_model() -> None:
    Path("answering.py").write_text(ANSWERS, encoding="utf-8")
    callbacks = TINY.replace("callbacks: [", "callbacks: [answers, ")
    recipe = tiny("plugins: [./answering.py]\n" + callbacks)
    done("run", recipe, "training.steps=4")
    written = Path("answers.txt").read_text(encoding="utf-8").splitlines()
    events = [line.partition(":")[0] for line in written]
    assert events == ["dev 3", "dev 4", "dev 4 final", "test 4 final", "finished"]
    answer = done("translate", "runs/tiny", "--trust-local-plugins", text="A dog sleeps.\n").rstrip("\n")
    assert {line.partition(": ")[2] for line in written[2:]} == {answer}


WRONG = '''\
import seqx


class Wrong(seqx.Objective):
    """An objective that returns no sums."""

    def forward(self, model, batch):
        return None


@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Objective, wrong=Wrong)
'''


def test_traceback_after_a_wrong_result_of_a_plugin_names_its_component() -> None:
    Path("wrong.py").write_text(WRONG, encoding="utf-8")
    recipe = tiny("plugins: [./wrong.py]\n" + TINY)
    result = CliRunner().invoke(main, ["run", str(recipe), "training.objective=wrong", "training.steps=2"])
    assert isinstance(result.exception, TypeError)
    (note,) = result.exception.__notes__
    assert note.startswith("The recipe uses the Objective 'wrong' (wrong.py:4). Perhaps a method of such a ")
    assert note.endswith("has returned something wrong: run its laws (seqx.testing.laws).")


def test_plugin_in_a_run_folder_is_written_atomically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written at each start, while other processes may read it."""
    file = tmp_path / "plugins" / "mine.py"
    run_folder._write_plugin(b"old = 1\n", file)

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "fsync", full)
    with pytest.raises(UserError, match=r"mine\.py: cannot be written: No space left on device"):
        run_folder._write_plugin(b"new = 1\n", file)
    assert file.read_bytes() == b"old = 1\n"
    assert [*file.parent.iterdir()] == [file]
