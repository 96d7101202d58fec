"""Commands that read a run's folder refuse files of another run, and delete nothing."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from seqx.errors import UserError
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.identity import Identity
from seqx.storage.json_format import FORMAT
from seqx.storage.manifest import Manifest
from seqx.training.recovery.skipped_batches import remove_later_checkpoints
from tests.models import RECIPE
from tests.stories.tiny import seqx as call

pytestmark = pytest.mark.promise("foreign-files")

TRAINING = """\
training:
  steps: 4
  tokens: 300
  save_every: 2
  validate_every: 4
  average: 1
  objective: {type: cross_entropy}
  optimizer: {type: adam}
  schedule: {type: constant, rate: 1e-3}
"""
OTHER_TEXT = "task.corpus.seed=3"


@pytest.fixture(scope="module")
def original_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Train three runs: `a`; `b` with another seed and more updates; `c` with another corpus."""
    folder = tmp_path_factory.mktemp("runs")
    text = RECIPE.replace("ratio: 0.25, extra: 4", "ratio: 0.1, extra: 3") + TRAINING
    (folder / "tiny.yaml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQX_CACHE", str(folder / "cache"))
        for name, *settings in (
            ("a",),
            ("b", "training.seed=5", "training.steps=6"),
            ("c", OTHER_TEXT),
        ):
            result = call(
                "run", folder / "tiny.yaml", *settings, "--folder", folder / name, "--device", "cpu"
            )
            assert result.exit_code == 0, result.output
        yield folder


@pytest.fixture
def runs(original_runs: Path, tmp_path: Path) -> Path:
    """Copies of the runs that a test may change."""
    for name in "abc":
        shutil.copytree(original_runs / name, tmp_path / name)
    shutil.copy(original_runs / "tiny.yaml", tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".lock"
    }


def refused(*arguments: str | Path, run: Path) -> str:
    """Return the message of a command that is refused, and check that the run is unchanged."""
    before = contents(run)
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert contents(run) == before
    return result.stderr


def same_command(runs: Path) -> tuple[str | Path, ...]:
    return ("run", runs / "tiny.yaml", "--folder", runs / "a", "--device", "cpu")


def resume(runs: Path, *settings: str) -> tuple[str | Path, ...]:
    return (*same_command(runs), "training.steps=6", *settings)


COMMANDS: dict[str, Callable[[Path], tuple[str | Path, ...]]] = {
    "resume": resume,
    "the same command": same_command,
    "average the last": lambda runs: ("average", runs / "a", "--last", "2", "--out", runs / "out"),
    "average the best": lambda runs: ("average", runs / "a", "--best", "1", "--out", runs / "out"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("step", [6, 3, 2], ids=["newer", "between", "in its place"])
def test_checkpoint_of_another_run_is_refused(runs: Path, command: str, step: int) -> None:
    foreign = runs / "a" / "checkpoints" / f"{step:08}"
    shutil.rmtree(foreign, ignore_errors=True)
    shutil.copytree(runs / "b" / "checkpoints" / f"{step + step % 2:08}", foreign)
    message = refused(*COMMANDS[command](runs), run=runs / "a")
    if step == 3:
        assert message == (
            f"{foreign}: holds the checkpoint of update 4; rename it to 00000004, or move it out of "
            f"{foreign.parent}\n"
        )
    else:
        assert message == (
            f"{foreign}: belongs to another run, whose recipe differs from that of the run in this folder; "
            "move it to another folder, and run the same command again\n"
        )
    assert not (runs / "out").exists()
    shutil.move(foreign, runs / "away")
    assert call(*COMMANDS[command](runs)).exit_code == 0


def test_checkpoint_of_another_vocabulary_is_refused(runs: Path) -> None:
    """Two runs of one recipe can have different vocabularies if their text files have changed."""
    identity = Identity(**json.loads((runs / "a" / "identity.json").read_text())["made_from"])
    model = nn.Linear(2, 2)
    checkpoints = Checkpoints(runs / "checkpoints", identity)
    checkpoints.save(TrainingProgress(step=2), model, {})
    other = Checkpoints(runs / "checkpoints", Identity(recipe=identity.recipe, vocabulary="other"))
    with pytest.raises(UserError, match=r"00000002: belongs to another run, whose vocabulary differs from"):
        other.resume(model, torch.device("cpu"), print)


def test_rollback_deletes_no_checkpoint_of_another_run(runs: Path) -> None:
    model, own = nn.Linear(2, 2), Identity(recipe="r", vocabulary="v")
    checkpoints = Checkpoints(runs / "checkpoints", own)
    for step in (2, 4):
        checkpoints.save(TrainingProgress(step=step), model, {})
    Checkpoints(runs / "checkpoints", Identity(recipe="o", vocabulary="v")).save(
        TrainingProgress(step=6), model, {}
    )
    with pytest.raises(UserError, match="00000006: belongs to another run"):
        checkpoints.resume(model, torch.device("cpu"), print, before=4)
    for change in (
        lambda: remove_later_checkpoints(2, checkpoints),
        lambda: checkpoints.prune(1, order="last", warn=print),
        lambda: checkpoints.average(1, order="last", warn=print),
        lambda: checkpoints.select_intact([(1, "last")], warn=print),
    ):
        with pytest.raises(UserError, match="00000006: belongs to another run"):
            change()
        assert checkpoints.steps() == [2, 4, 6]


@pytest.mark.parametrize(
    "swapped", ["model.safetensors", "states.safetensors", "checkpoint.json", "manifest.json"]
)
def test_file_of_another_checkpoint_is_damage(runs: Path, swapped: str) -> None:
    """Such a checkpoint does not match its manifest. It is renamed, and an older one is used."""
    steps = runs / "a" / "checkpoints"
    shutil.copy(steps / "00000002" / swapped, steps / "00000004" / swapped)
    result = call(*resume(runs))
    assert result.exit_code == 0, result.output
    assert f"{steps / '00000004'}" in result.stderr
    assert "resuming from the checkpoint of update 2; it was renamed to 00000004.damaged\n" in result.stderr


def test_model_of_another_run_is_refused(runs: Path) -> None:
    model = runs / "a" / "model"
    shutil.rmtree(model)
    shutil.copytree(runs / "b" / "model", model)
    message = refused(*same_command(runs), run=runs / "a")
    assert message.startswith(f"{model}: belongs to another run, whose recipe differs")
    shutil.rmtree(model)
    assert call(*same_command(runs)).exit_code == 0


def test_scores_of_another_run_are_refused(runs: Path) -> None:
    scores = runs / "a" / "model" / "scores.json"
    own = scores.read_bytes()
    text = (runs / "b" / "model" / "scores.json").read_text("utf-8")
    scores.write_text(text if text.encode() != own else text + " ", encoding="utf-8")
    assert refused(*same_command(runs), run=runs / "a") == (
        f"{scores}: the scores are not those that this run wrote; restore them, or remove the file "
        "and run the same command again, which scores the model again\n"
    )
    scores.unlink()
    assert call(*same_command(runs)).exit_code == 0
    assert scores.read_bytes() == own


def test_vocabulary_of_another_run_is_refused(runs: Path) -> None:
    vocabulary = runs / "a" / "task"
    shutil.rmtree(vocabulary)
    shutil.copytree(runs / "c" / "task", vocabulary)
    for command in COMMANDS.values():
        message = refused(*command(runs), run=runs / "a")
        assert message.startswith(
            f"{vocabulary}: differs from the vocabulary that this run began with; restore it"
        )


def remove_digests(run: Path) -> None:
    """Turn a run into one of an earlier seqx, which wrote no digests."""
    (run / "identity.json").unlink()
    for file in (*run.glob("checkpoints/*/checkpoint.json"), run / "model" / "model.json"):
        info = json.loads(file.read_text("utf-8"))
        del info["made_from"]
        file.write_text(json.dumps(info), encoding="utf-8")
        scores = file.parent / "scores.json"
        scores_bytes = scores.read_bytes() if scores.is_file() else None
        scores.unlink(missing_ok=True)
        Manifest.seal(file.parent, FORMAT)
        if scores_bytes is not None:
            scores.write_bytes(scores_bytes)


def test_runs_without_identity_of_earlier_versions_resume(runs: Path) -> None:
    identity = (runs / "a" / "identity.json").read_text("utf-8")
    remove_digests(runs / "a")
    assert call(*same_command(runs)).exit_code == 0
    assert call("average", runs / "a", "--last", "2").exit_code == 0
    result = call(*resume(runs))
    assert result.exit_code == 0, result.output
    resumed = json.loads((runs / "a" / "identity.json").read_text("utf-8"))
    assert resumed["made_from"] == json.loads(identity)["made_from"]
    # New checkpoints have digests again, so that files of other runs are refused.
    shutil.copytree(runs / "b" / "checkpoints" / "00000006", runs / "a" / "checkpoints" / "00000005")
    assert "holds the checkpoint of update 6" in refused(*resume(runs), run=runs / "a")


def test_advice_about_a_damaged_identity_file_works(runs: Path) -> None:
    identity = runs / "a" / "identity.json"
    identity.write_text("{}", encoding="utf-8")
    message = refused(*resume(runs), run=runs / "a")
    assert message.startswith(
        f"{identity}: cannot be read (made_from: Field required); restore it, or remove"
    )
    identity.unlink()
    result = call(*resume(runs))
    assert result.exit_code == 0, result.output


def test_changeable_settings_are_not_part_of_the_identity(runs: Path) -> None:
    result = call(*resume(runs, "training.microbatch=500", "training.save_minutes=null"))
    assert result.exit_code == 0, result.output
    checkpoints = Checkpoints(runs / "a" / "checkpoints")
    assert checkpoints.info(6).made_from == checkpoints.info(4).made_from


def test_newer_version_keeps_the_recorded_identity(runs: Path) -> None:
    """A new setting with its default changes neither the run nor the digests in its checkpoints."""
    run = runs / "a"
    recipe = run / "recipe.yaml"
    text = recipe.read_text("utf-8")
    assert "  groups: 1\n" in text
    recipe.write_text(
        text.replace("  groups: 1\n", ""), encoding="utf-8"
    )  # as if the setting did not exist then
    for file in (run / "identity.json", *run.glob("checkpoints/*/checkpoint.json")):
        info = json.loads(file.read_text("utf-8"))
        info["made_from"]["recipe"] = "that of the recipe without groups"
        file.write_text(json.dumps(info), encoding="utf-8")
    for folder in (run / "checkpoints").iterdir():
        Manifest.seal(folder, FORMAT)
    shutil.rmtree(run / "model")
    for _ in range(2):
        result = call(*resume(runs))
        assert result.exit_code == 0, result.output
    assert "  groups: 1\n" in recipe.read_text("utf-8")
    checkpoints = Checkpoints(run / "checkpoints")
    assert checkpoints.info(6).made_from == checkpoints.info(4).made_from
