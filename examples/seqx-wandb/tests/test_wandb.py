"""The callback, with a small module in the place of `wandb`, and with the package if it is installed."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import seqx
from click.testing import CliRunner
from seqx.cli import main

from seqx_wandb import WandB

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


def observe(callback: WandB, folder: Path) -> None:
    """Call the events of a run of 20 updates."""
    callback.started(run(folder))
    for step in range(1, 21):
        callback.updated(run(folder), update(step))
    callback.evaluated(20, "dev", evaluation(20.0), is_final=False)
    callback.evaluated(20, "test", evaluation(21.0), is_final=True)


def train(folder: Path, *settings: str) -> str:
    recipe = str(Path(__file__).parents[1] / "recipes" / "wandb.yaml")
    command = ["run", recipe, "--profile", "sample", "--folder", str(folder), *TINY, *settings]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return result.output


class Tracker:
    """Stands for a run of wandb."""

    id = "abc"

    def __init__(self, **options: Any) -> None:  # noqa: ANN401
        self.options = options
        self.logged: list[dict[str, float]] = []
        self.exit_code: int | None = None

    def define_metric(self, name: str, step_metric: str) -> None:
        assert (name.partition("/")[2], step_metric) == ("*", "step")

    def log(self, metrics: dict[str, float]) -> None:
        self.logged.append(metrics)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


@pytest.fixture
def trackers(monkeypatch: pytest.MonkeyPatch) -> list[Tracker]:
    """Put a small module in the place of `wandb`; return the runs that were started."""
    started: list[Tracker] = []

    def init(**options: Any) -> Tracker:  # noqa: ANN401
        started.append(Tracker(**options))
        return started[-1]

    module = ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    module.Settings = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(seqx.Record, "read", lambda _: SimpleNamespace(recipe=SETTINGS))
    return started


def test_wandb_gets_settings_curves_and_scores(trackers: list[Tracker], tmp_path: Path) -> None:
    callback = WandB(every=10)
    observe(callback, tmp_path)
    callback.finished()
    (tracker,) = trackers
    assert tracker.options["mode"] == "offline"
    assert tracker.options["dir"] == tmp_path
    assert tracker.options["config"] == {"training.steps": 20, "model": "transformer", "parameters": 7}
    assert tracker.logged == [
        {"step": 10, "train/loss": 4.0, "train/learning_rate": 0.5, "train/norm": 1.5},
        {"step": 20, "train/loss": 3.0, "train/learning_rate": 0.5, "train/norm": 1.5},
        {"step": 20, "dev/bleu": 20.0},
        {"step": 20, "model/test/bleu": 21.0},
    ]
    assert tracker.exit_code == 0


def test_wandb_run_is_continued_by_a_resumed_run(trackers: list[Tracker], tmp_path: Path) -> None:
    for _ in range(2):
        callback = WandB(mode="online")
        callback.started(run(tmp_path))
        callback.failed()
    assert [tracker.options["id"] for tracker in trackers] == [None, "abc"]
    assert [tracker.exit_code for tracker in trackers] == [1, 1]


def test_missing_wandb_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(seqx.UserError, match=r"pip install '\.\[wandb\]'"):
        WandB()


def test_run_is_recorded_by_the_package_wandb_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    train(tmp_path / "run")
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert all(
        name in content for name in (b"train/loss", b"dev/bleu", b"model/test/bleu", b"training.steps")
    )
