"""The metric, tested with a small module in the place of `comet`: no real COMET model is loaded here."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import seqx
from click.testing import CliRunner
from seqx.cli import main

from seqx_comet import Comet

SOURCES, OUTPUTS, REFERENCES = ["a b", "c"], ["A B", "X"], ["A B", "C"]


class FakeModel:
    """A model that gives 1 to outputs that equal their reference, else 0.5 if the source is upper-cased."""

    def predict(self, rows: Sequence[dict[str, str]], **options: object) -> SimpleNamespace:
        assert options == {"batch_size": 2, "gpus": 0, "progress_bar": False}
        scores = [1.0 if row["mt"] == row["ref"] else 0.5 * (row["mt"] == row["src"].upper()) for row in rows]
        return SimpleNamespace(scores=scores)


@pytest.fixture
def comet(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a small module in the place of `comet`; return the names and files that were loaded."""
    loaded: list[str] = []

    def load(path: str) -> FakeModel:
        if path == "downloaded/missing":
            raise KeyError("missing")
        loaded.append(path)
        return FakeModel()

    module = ModuleType("comet")
    module.download_model = lambda name: f"downloaded/{name}"  # type: ignore[attr-defined]
    module.load_from_checkpoint = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comet", module)
    return loaded


def test_comet_scores_outputs_with_their_sources(comet: list[str], tmp_path: Path) -> None:
    metric = Comet(batch_size=2).for_sources(SOURCES)
    assert metric(OUTPUTS, REFERENCES)["comet"].value == 50
    scores = metric.sentence_scores(OUTPUTS, REFERENCES)
    assert [score["comet"].value for score in scores] == [100, 0]
    assert comet == ["downloaded/Unbabel/wmt22-comet-da"] * 2
    assert metric(OUTPUTS, REFERENCES)["comet"].signature.startswith("model:wmt22-comet-da|version:")
    (tmp_path / "own.ckpt").touch()
    own = Comet(batch_size=2, model=str(tmp_path / "own.ckpt")).for_sources(["a b", "x"])
    assert own(OUTPUTS, REFERENCES)["comet"].value == 75
    assert comet[-1] == str(tmp_path / "own.ckpt")


def test_comet_takes_its_settings_from_a_recipe() -> None:
    assert Comet().score_names() == ["comet"]
    registered = CliRunner().invoke(main, ["components", "metric", "comet"])
    assert "wmt22-comet-da" in registered.output


@pytest.mark.usefixtures("comet")
def test_comet_is_a_metric_of_the_command_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, lines in (("source", SOURCES), ("outputs", OUTPUTS), ("references", REFERENCES)):
        Path(name).write_text("\n".join(lines) + "\n")
    command = ["score", "--metric", "comet", "batch_size=2", "references", "outputs"]
    result = CliRunner().invoke(main, [*command, "--source", "source"])
    assert result.stdout.startswith("comet 50.00  model:wmt22-comet-da"), result.output
    result = CliRunner().invoke(main, command)
    assert result.stderr.startswith("comet: reads the sources of the outputs; name their file")


@pytest.mark.usefixtures("comet")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("missing", "comet: the model missing cannot be loaded"),
        ("", r"cannot be imported .* pip install '\.\[comet\]'"),
    ],
)
def test_comet_reports_what_is_missing(model: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not model:
        monkeypatch.setitem(sys.modules, "comet", None)
    with pytest.raises(seqx.UserError, match=message):
        Comet(model=model, batch_size=2).for_sources(SOURCES)(OUTPUTS, REFERENCES)
