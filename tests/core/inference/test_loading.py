"""Loading of model folders, and the messages about folders that cannot be loaded."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

import seqx
from seqx.storage.json_format import FORMAT
from seqx.storage.manifest import Manifest
from tests.models import RECIPE, write_model

LINES = ["The old man sees the house.", "", "The dog sleeps.", "xyz"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "first")


def test_model_folder_works_after_it_was_moved(model: Path, tmp_path: Path) -> None:
    before = seqx.load(model)(LINES)
    assert before[1] == ""
    assert len(set(before)) == 4
    moved = shutil.copytree(model, tmp_path / "elsewhere" / "m")
    assert seqx.load(str(moved))(LINES) == before


def test_load_reports_folders_that_are_not_models(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        seqx.UserError, match="precision 'fp16': there is no such format; write auto, bf16, fp32"
    ):
        seqx.load(model, precision="fp16")  # type: ignore[arg-type]
    with pytest.raises(seqx.UserError, match="engine is 'ctranslate2'; pass an engine, such as"):
        seqx.load(model, engine="ctranslate2")  # type: ignore[arg-type]
    with pytest.raises(seqx.UserError, match=r"recipe.yaml: is a file of a model; name its folder"):
        seqx.load(model / "recipe.yaml")
    search = seqx.load(model, overrides="search.size=1").search
    assert search is not None
    assert search.width == 1
    moved = shutil.copytree(model, tmp_path / "m")
    (moved / "model.json").write_text('{"format": "x"}')
    Manifest.seal(moved, FORMAT)
    with pytest.raises(
        seqx.UserError, match=r"model.json: cannot be read \(format: 'x' is not a format number\)"
    ):
        seqx.load(moved)


def test_load_takes_the_folder_of_a_run(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "run" / "model")
    (tmp_path / "run" / "checkpoints").mkdir()
    assert seqx.load(tmp_path / "run")(LINES) == seqx.load(model)(LINES)


def test_load_overrides_settings_of_the_search(model: Path) -> None:
    answers = next(iter(seqx.load(model, overrides=["search.size=6", "search.nbest=5"]).hypotheses(LINES)))
    assert len(answers) == 5
    greedy = seqx.load(model, overrides=["search={type: greedy, extra: 2}"])
    assert len(next(iter(greedy.hypotheses(LINES)))[0][1].ids) <= 20
    with pytest.raises(seqx.UserError, match=r"serch.size=8: .*such as search.size=8; did you mean 'search'"):
        seqx.load(model, overrides=["serch.size=8"])
    with pytest.raises(seqx.UserError, match=r"model.d_model=8: a trained model does not allow this; change"):
        seqx.load(model, overrides=["model.d_model=8"])
    with pytest.raises(seqx.RecipeError, match="did you mean 'size'"):
        seqx.load(model, overrides=["search.sizes=8"])


def test_several_models_form_an_ensemble(model: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "second", seed=1, vocabulary=model / "task")
    one, two, both = seqx.load(model), seqx.load(other), seqx.load([model, other])
    assert both(LINES) != one(LINES)
    assert both(LINES) != two(LINES)
    assert seqx.load([model, model])(LINES) == one(LINES)


def test_models_of_different_vocabularies_form_no_ensemble(model: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "second", text=RECIPE.replace("train: 300", "train: 200"))
    with pytest.raises(seqx.UserError, match=r"first and .*second have different vocabularies"):
        seqx.load([model, other])


def test_load_reports_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(seqx.UserError, match="nowhere: there is no such folder"):
        seqx.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(seqx.UserError, match=r"empty: is not the folder of a model \(model.safetensors and"):
        seqx.load(tmp_path / "empty")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "recipe.yaml").write_text("training: {steps: 6}\n")
    (tmp_path / "run" / "environment.json").write_text("{}")
    with pytest.raises(
        seqx.UserError,
        match=r"run: this run is not finished and has no model yet: it has no checkpoint yet; ",
    ):
        seqx.load(tmp_path / "run")
    with pytest.raises(seqx.UserError, match="at least one model"):
        seqx.load([])


@pytest.fixture
def broken(model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model, tmp_path / "broken")


@pytest.mark.promise("damage-is-detected")
def test_load_reports_damaged_weights(broken: Path) -> None:
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(seqx.UserError, match=r"model.safetensors: cannot be read"):
        seqx.load(broken)
    Manifest.seal(broken, FORMAT)  # now the manifest matches the truncated file
    with pytest.raises(seqx.UserError, match=r"model.safetensors: cannot be read"):
        seqx.load(broken)


@pytest.mark.promise("damage-is-detected")
@pytest.mark.parametrize(
    "name", ["model.safetensors", "recipe.yaml", "model.json", "task/*/*", "manifest.json"]
)
def test_load_reports_changed_and_missing_files(broken: Path, name: str) -> None:
    (file,) = broken.glob(name)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(seqx.UserError, match=rf"{file}: cannot be read"):
        seqx.load(broken)
    file.write_bytes(whole)
    assert seqx.load(broken)(["a"])
    file.unlink()
    with pytest.raises(seqx.UserError, match=rf"{file}: cannot be read|is not the folder of a model"):
        seqx.load(broken)


def test_load_reports_a_manifest_of_a_newer_version(broken: Path) -> None:
    Manifest.seal(broken, FORMAT + 1)
    with pytest.raises(seqx.UserError, match=r"manifest.json: written by a newer seqx \(format 3\); update"):
        seqx.load(broken)


def test_load_reports_weights_of_another_model(broken: Path) -> None:
    recipe = broken / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace("layers: 1", "layers: 2", 1), "utf-8")
    Manifest.seal(broken, FORMAT)
    with pytest.raises(seqx.UserError, match=r"model.safetensors: holds the weights of another model"):
        seqx.load(broken)


def test_load_reports_a_missing_plugin(broken: Path) -> None:
    info = json.loads((broken / "model.json").read_text("utf-8"))
    info["plugins"]["moon"] = {"version": "2.1", "from": "seqx-moon", "sha256": None}
    (broken / "model.json").write_text(json.dumps(info), "utf-8")
    Manifest.seal(broken, FORMAT)
    assert seqx.load(broken)(["a"])  # the plugin is missing, but the model does not use it
    recipe = broken / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace("type: multihead", "type: lunar", 1), "utf-8")
    Manifest.seal(broken, FORMAT)
    with pytest.raises(
        seqx.UserError, match=r"not installed: moon 2.1; install(.|\n)*no Attention is called 'lunar'"
    ):
        seqx.load(broken)


@pytest.mark.promise("code-needs-trust")
def test_load_runs_no_local_plugin_without_permission(broken: Path) -> None:
    recipe = broken / "recipe.yaml"
    recipe.write_text("plugins: [./mine.py]\n" + recipe.read_text("utf-8"), "utf-8")
    (broken / "mine.py").write_text("raise SystemExit('it ran')\n", "utf-8")
    Manifest.seal(broken, FORMAT)
    with pytest.raises(
        seqx.UserError, match=r"--trust-local-plugins \(in Python: trust_local_plugins=True\)"
    ):
        seqx.load(broken)
    with pytest.raises(seqx.UserError, match=r"mine.py has changed since it was recorded"):
        seqx.load(broken, trust_local_plugins=True)
    info = json.loads((broken / "model.json").read_text("utf-8"))
    info["plugins"]["plugins/mine.py"] = {
        "sha256": hashlib.sha256((broken / "mine.py").read_bytes()).hexdigest()
    }
    (broken / "model.json").write_text(json.dumps(info), "utf-8")
    Manifest.seal(broken, FORMAT)
    with pytest.raises(seqx.UserError, match="it ran"):
        seqx.load(broken, trust_local_plugins=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_load_reports_a_missing_device(model: Path) -> None:
    with pytest.raises(seqx.UserError, match="device 'cuda:1': this machine has 0"):
        seqx.load(model, device="cuda:1")
    with pytest.raises(seqx.UserError, match="device 'gpu'"):
        seqx.load(model, device="gpu")


@pytest.mark.isa
def test_model_answers_in_bf16(model: Path) -> None:
    predictor = seqx.load(model, precision="bf16")
    assert len(predictor(LINES)) == 4
