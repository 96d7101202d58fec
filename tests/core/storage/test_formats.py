"""Runs and models of every supported format can be read."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import seqx
from seqx.run_folder import RunFolder
from seqx.storage import state_dict
from seqx.storage.json_format import FORMAT
from tests.core.format_sample import WRITTEN_BY_CALLBACKS, flat, read, samples, user_recipe
from tests.stories.tiny import done, lines

pytestmark = pytest.mark.promise("old-formats")

SAMPLES = samples()


def test_format_samples_cover_every_supported_format() -> None:
    assert {int(float(path.name)) for path in SAMPLES} == {FORMAT}
    for folder in SAMPLES:
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 200_000


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda path: path.name)
def test_sample_checkpoint_is_read_exactly(folder: Path) -> None:
    """`expected.json` has digests of all weights and states, computed by the version that wrote them."""
    expected = json.loads((folder / "expected.json").read_text())
    restored = read(folder)
    assert expected["progress"].items() <= restored["progress"].items()
    assert {**expected, "progress": None} == {**restored, "progress": None}


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda path: path.name)
def test_sample_model_answers(folder: Path) -> None:
    answers = seqx.load(folder / "run" / "model")(["A dog sleeps.", ""])
    assert answers[0]
    assert answers[1] == ""


@pytest.mark.parametrize("with_stored_recipe", [False, True], ids=["user_recipe", "stored_recipe"])
@pytest.mark.parametrize("folder", SAMPLES, ids=lambda path: path.name)
def test_sample_run_resumes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, with_stored_recipe: bool
) -> None:
    """The stored recipes of old samples have old names of settings; the digests of the run do not change."""
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    run = Path("runs/small")
    shutil.copytree(folder / "run", run, ignore=shutil.ignore_patterns("model"))
    identity = RunFolder(run).identity()
    recipe = run / "recipe.yaml" if with_stored_recipe else user_recipe(folder, tmp_path)
    has_old_names = with_stored_recipe and folder.name in ("2.0", "2.1", "2.2")
    assert ("keep_checkpoints" in recipe.read_text(encoding="utf-8")) != has_old_names
    done("run", recipe, "--folder", run, "training.steps=4")
    assert "keep_checkpoints" in (run / "recipe.yaml").read_text(encoding="utf-8")
    assert RunFolder(run).identity() == identity
    assert [row["step"] for row in lines(run, "start")] == [2]
    assert [row["step"] for row in lines(run, "update")] == [3, 4]
    info = json.loads((run / "checkpoints/00000004/checkpoint.json").read_text())
    assert info["format"] == FORMAT
    assert json.loads((run / "model/model.json").read_text())["steps"] == [2, 4]


def test_newest_sample_has_every_file_and_key_of_this_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, write a new sample with `python -m tests.core.format_sample`."""
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    done("run", user_recipe(SAMPLES[-1], tmp_path), "--device", "cpu", "training.steps=2")
    assert written(Path("runs/small")) - written(SAMPLES[-1] / "run") == set()
    (index,) = (tmp_path / "cache").glob("*/index.json")
    assert written(index.parent) - written(SAMPLES[-1] / "store") == set()


def written(run: Path) -> set[str]:
    """Return the files of a folder, the keys of its JSON files, and the keys of checkpoint states."""
    files = [path for path in run.rglob("*") if path.is_file() and path.relative_to(run).parts[0][0] != "."]
    names = {str(path.relative_to(run)) for path in files}
    for path in files:
        if path.suffix == ".json" and path.name != "states.json":
            names |= {f"{path.relative_to(run)}:{key}" for key, _ in flat(json.loads(path.read_text()))}
    for path in run.glob("checkpoints/*"):
        names |= {f"{path.name}:{key}" for key in state_dict.read(path, torch.device("cpu"))}
    names = {name for name in names if Path(name).parts[0] not in WRITTEN_BY_CALLBACKS}
    return {
        re.sub("(:/(?:plugins|packages|task)/)[^/]+", r"\\1NAME", name) for name in names
    }  # the test does not depend on what is installed
