"""The callback, with a small module in the place of `mlflow`, and with the package if it is installed."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import seqx
from click.testing import CliRunner
from seqx.cli import main

from seqx_mlflow import MLflow

SETTINGS = {"training": {"steps": 20}, "model": "transformer"}

TINY = ["training.steps=2", "training.tokens=200", "training.save_every=1", "model.d_model=32"]
TINY += ["task.corpus.train=300", "task.corpus.dev=2", "task.corpus.test=2", "task.tokenizer.size=400"]
TINY += ["search.ratio=0.1", "search.extra=1"]


def run(folder: Path) -> Any:  # noqa: ANN401  stands for a seqx.Run
    return SimpleNamespace(
        name="wmt", folder=folder, training=SimpleNamespace(steps=20), parameters=7, pending=False
    )


def update(step: int) -> Any:  # noqa: ANN401  stands for a seqx.Update
    return SimpleNamespace(step=step, loss=5 - step / 10, learning_rate=0.5, norm=1.5)


def evaluation(bleu: float) -> seqx.Evaluation:
    return seqx.Evaluation(scores={"bleu": seqx.Score(value=bleu, signature="")}, answers=[])


def observe(callback: MLflow, folder: Path) -> None:
    """Call the events of a run of 20 updates."""
    callback.started(run(folder))
    for step in range(1, 21):
        callback.updated(run(folder), update(step))
    callback.evaluated(20, "dev", evaluation(20.0), is_final=False)
    callback.evaluated(20, "test", evaluation(21.0), is_final=True)


def train(folder: Path, *settings: str) -> str:
    recipe = str(Path(__file__).parents[1] / "recipes" / "mlflow.yaml")
    command = ["run", recipe, "--profile", "sample", "--folder", str(folder), *TINY, *settings]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return result.output


class Client:
    """Stands for mlflow.MlflowClient; its calls are in `made`."""

    made: list[tuple[Any, ...]]

    def __init__(self, uri: str) -> None:
        self.made.append(("client", uri))

    def get_experiment_by_name(self, name: str) -> None:
        self.made.append(("find", name))

    def create_experiment(self, name: str) -> str:
        self.made.append(("create", name))
        return "1"

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        self.made.append(("run", experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return lambda *arguments, **named: self.made.append((name, *arguments, *named.values()))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Put a small module in the place of `mlflow`; return the calls of its client."""
    module = ModuleType("mlflow")
    made: list[tuple[Any, ...]] = []
    monkeypatch.setattr(Client, "made", made, raising=False)
    module.MlflowClient = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr(seqx.Record, "read", lambda _: SimpleNamespace(recipe=SETTINGS))
    return made


def test_mlflow_gets_settings_curves_and_scores(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "wmt"
    folder.mkdir(parents=True)
    callback = MLflow(every=10)
    observe(callback, folder)
    callback.finished()
    assert calls[0] == ("client", (tmp_path / "runs" / "mlruns").as_uri())
    assert calls[3] == ("run", "1", "wmt")
    assert ("log_param", "abc", "training.steps", "20") in calls
    assert ("log_param", "abc", "parameters", 7) in calls
    metrics = [call[2:] for call in calls if call[0] == "log_metric"]
    assert metrics == [
        *[("train/loss", 4.0, 10), ("train/learning_rate", 0.5, 10), ("train/norm", 1.5, 10)],
        *[("train/loss", 3.0, 20), ("train/learning_rate", 0.5, 20), ("train/norm", 1.5, 20)],
        *[("dev/bleu", 20.0, 20), ("model/test/bleu", 21.0, 20)],
    ]
    assert calls[-1] == ("set_terminated", "abc", "FINISHED")


def test_names_of_scores_are_valid_in_mlflow(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    callback = MLflow()
    callback.started(run(tmp_path))
    scores = {name: seqx.Score(value=5.0, signature="") for name in ("f1(a/b)", "note error rate")}
    callback.evaluated(20, "dev", seqx.Evaluation(scores=scores, answers=[]), is_final=False)
    assert [call[2] for call in calls if call[0] == "log_metric"] == ["dev/f1_a_b_", "dev/note error rate"]


def test_mlflow_run_is_continued_by_a_resumed_run(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    for error, status in ((ValueError(), "FAILED"), (KeyboardInterrupt(), "KILLED")):
        callback = MLflow(uri="http://tracker")
        callback.started(run(tmp_path))
        callback.failed(error)
        assert calls[-1] == ("set_terminated", "abc", status)
    assert [call[0] for call in calls].count("run") == 1
    assert ("update_run", "abc", "RUNNING") in calls


def test_missing_mlflow_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(seqx.UserError, match=r"pip install '\.\[mlflow\]'"):
        MLflow()


def test_run_is_recorded_by_the_package_mlflow(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    train(tmp_path / "run")
    train(tmp_path / "run", "training.steps=3")
    client = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
    (recorded,) = client.search_runs([client.get_experiment_by_name("seqx").experiment_id])
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params["training.steps"] == "2"
    assert [point.step for point in client.get_metric_history(recorded.info.run_id, "train/loss")] == [2, 3]
    assert {"dev/bleu", "model/test/bleu"} <= recorded.data.metrics.keys()
