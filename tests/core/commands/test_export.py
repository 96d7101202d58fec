"""`seqx export` and `seqx import`, with an exporter and an importer of a format that is not seqx's."""

import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import seqx
from seqx.cli import main
from seqx.plugin.loading import Plugins, load_plugins
from seqx.recipe import read_plain
from tests.models import write_model

Call = Callable[..., Result]


class Npz(seqx.Exporter):
    """An archive of numpy arrays, beside the recipe as JSON and the vocabulary.

    Args:
        half: write numbers of 16 bits
    """

    def __init__(self, *, half: bool = False) -> None:
        self.half = half

    def problems(self, model: seqx.TrainedModel) -> Iterable[str]:
        if model.recipe["model"]["decoder"].get("positions") == "rotary":
            yield "model.decoder.positions: the format has no rotary positions; train with sinusoidal"

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        arrays = {name: tensor.numpy() for name, tensor in model.model.state_dict().items()}
        if self.half:
            arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
        np.savez(folder / "weights.npz", **arrays)
        (folder / "config.json").write_text(json.dumps(model.recipe), encoding="utf-8")
        shutil.copytree(model.vocabulary, folder / "vocabulary")


class FromNpz(seqx.Importer):
    """The format of `Npz`."""

    def read(self, source: Path, vocabulary: Path) -> seqx.ImportedModel:
        if not (source / "weights.npz").is_file():
            raise seqx.UserError(f"{source}: has no weights.npz")
        shutil.copytree(source / "vocabulary", vocabulary, dirs_exist_ok=True)
        with np.load(source / "weights.npz") as arrays:
            weights = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
        recipe = json.loads((source / "config.json").read_text(encoding="utf-8"))
        return seqx.ImportedModel(recipe=recipe, weights=weights)


class Failing(seqx.Exporter):
    """An exporter that fails after its first file."""

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        (folder / "first").write_text("incomplete", encoding="utf-8")
        raise OSError(28, "No space left on device")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("export") / "model")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that runs a command of seqx with the exporters and the importer of this file."""
    plugins: Plugins = load_plugins()
    plugins.registry.add(seqx.Exporter, npz=Npz, failing=Failing)
    plugins.registry.add(seqx.Importer, npz=FromNpz)
    monkeypatch.setattr("seqx.commands.component_option.load_plugins", lambda: plugins)

    def run(*args: object) -> Result:
        return CliRunner().invoke(main, [str(arg) for arg in args])

    return run


def answers(folder: Path) -> list[str]:
    return list(seqx.load(folder, device="cpu", overrides=["search.extra=0"])(["We wait."]))


@pytest.mark.slow
def test_import_of_an_exported_model_answers_like_the_model(model: Path, call: Call, tmp_path: Path) -> None:
    foreign, back = tmp_path / "foreign", tmp_path / "back"
    assert call("export", model, "--to", "npz", "--out", foreign).exit_code == 0
    assert {path.name for path in foreign.iterdir()} == {"weights.npz", "config.json", "vocabulary"}
    result = call("import", foreign, "--from", "npz", "--out", back)
    assert result.output == f"{back}: written\n"
    assert answers(back) == answers(model)


def test_export_takes_settings_of_the_exporter(model: Path, call: Call, tmp_path: Path) -> None:
    result = call("export", model, "--to", "{type: npz, half: true}", "--out", tmp_path / "half")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "half" / "weights.npz") as arrays:
        assert {array.dtype.name for array in arrays.values()} == {"float16"}


def test_export_passes_the_licence_to_the_exporter(
    model: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Npz, model: seqx.TrainedModel, folder: Path) -> None:
        (folder / "licence").write_text(str(model.license), encoding="utf-8")

    monkeypatch.setattr(Npz, "write", write)
    for options, licence in (([], "None"), (["--license", "CC-BY-4.0"], "CC-BY-4.0")):
        out = tmp_path / licence
        assert call("export", model, "--to", "npz", "--out", out, *options).exit_code == 0
        assert (out / "licence").read_text(encoding="utf-8") == licence
    result = call("export", model, "--to", "npz", "--out", tmp_path / "out", "--license", "my: own")
    assert result.exit_code == 2
    assert "--license: 'my: own' is not an identifier; write one such as cc-by-4.0" in result.output


def test_output_inside_of_the_input_is_refused(model: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    before = sorted(model.rglob("*"))
    for command, option in (("export", "--to"), ("import", "--from")):
        for out in (model / "inside", model / "task" / "inside", tmp_path / "link" / "inside"):
            result = call(command, model, option, "npz", "--out", out)
            assert result.exit_code == 2
            assert result.stderr == f"{out}: is inside of {model}, which is read; choose another --out\n"
    assert sorted(model.rglob("*")) == before


def test_unknown_format_is_an_error_with_the_nearest_name(model: Path, call: Call, tmp_path: Path) -> None:
    result = call("export", model, "--to", "npy", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "npy" in result.output
    assert "npz" in result.output


def test_existing_output_folder_is_refused(model: Path, call: Call, tmp_path: Path) -> None:
    for command in (("export", model, "--to", "npz"), ("import", model, "--from", "npz")):
        result = call(*command, "--out", tmp_path)
        assert result.exit_code == 2
        assert f"{tmp_path}: exists already; remove it, or choose another --out" in result.output


def test_unsupported_setting_is_named_and_nothing_is_written(
    model: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = "model.decoder.layers: the format has two layers or more; train with layers: 2"
    monkeypatch.setattr(Npz, "problems", lambda *_: [problem])
    result = call("export", model, "--to", "npz", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"{model / 'recipe.yaml'}: {problem}" in result.output
    assert not list(tmp_path.iterdir())


def test_failed_export_leaves_no_folder(model: Path, call: Call, tmp_path: Path) -> None:
    result = call("export", model, "--to", "failing", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "No space left" in result.output
    assert not list(tmp_path.iterdir())


def test_import_of_a_model_with_wrong_weights_leaves_no_folder(
    model: Path, call: Call, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    assert call("export", model, "--to", "npz", "--out", foreign).exit_code == 0
    np.savez(foreign / "weights.npz", other=np.zeros(3, np.float32))
    assert call("import", foreign, "--from", "npz", "--out", tmp_path / "back").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["foreign"]


def test_import_of_a_missing_source_is_an_error(call: Call, tmp_path: Path) -> None:
    result = call("import", tmp_path / "none", "--from", "npz", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "there is no such file or folder" in result.output


def test_transposed_weights_are_imported(
    model: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = seqx.load(model, device="cpu").model.state_dict()
    transposed = {
        name: tensor.t().contiguous().t() if tensor.dim() == 2 else tensor for name, tensor in weights.items()
    }
    imported_with(model, monkeypatch, weights=transposed)
    result = call("import", model, "--from", "npz", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = seqx.load(tmp_path / "out", device="cpu").model.state_dict()
    assert all(found[name].equal(tensor) for name, tensor in weights.items())


def imported_with(model: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let the importer return the model with changes."""
    recipe = read_plain(model / "recipe.yaml")
    parts = {"recipe": recipe, "weights": seqx.load(model, device="cpu").model.state_dict(), **changes}
    imported = seqx.ImportedModel(**parts)

    def read(importer: FromNpz, source: Path, vocabulary: Path) -> Any:
        shutil.copytree(model / "task", vocabulary, dirs_exist_ok=True)
        return imported

    monkeypatch.setattr(FromNpz, "read", read)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": [1]}, "`read` must return a seqx.ImportedModel, whose recipe is a mapping"),
        ({"recipe": {"task": Path("x")}}, "the recipe has a value that is not plain: "),
        ({"weights": []}, "the weights must be a mapping from names to tensors"),
        ({"weights": {"a": np.zeros(2)}}, "the weights must be tensors by name, not 'a': ndarray"),
        ({"weights": {1: torch.zeros(2)}}, "the weights must be tensors by name, not 1: Tensor"),
    ],
)
def test_importer_that_returns_something_else_is_named(
    changes: Any, message: str, model: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported_with(model, monkeypatch, **changes)
    result = call("import", model, "--from", "npz", "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert re.search(rf"test_export.py:\d+: {re.escape(message)}", result.output), result.output
    assert not list(tmp_path.iterdir())


def test_exporter_that_writes_nothing_is_named(
    model: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Npz, "write", lambda *_: None)
    result = call("export", model, "--to", "npz", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert re.search(r"test_export.py:\d+: `write` has written no file", result.output)
