"""The command `seqx tune`, with a small module in the place of `optuna`, and with the package itself."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import seqx
from click.testing import CliRunner, Result
from seqx.cli import main

import seqx_optuna

LAYERS = "model.decoder.layers=[1, 2, 3]"


class Trial(SimpleNamespace):
    """A trial of the stand-in, which chooses the last value or the upper bound."""

    def suggest_categorical(self, key: str, values: Sequence[str]) -> str:
        self.params[key] = values[-1]
        return values[-1]

    def suggest_float(self, key: str, low: float, high: float, *, log: bool) -> float:
        assert log == (low == 1e-4)
        self.params[key] = high
        return high

    def suggest_int(self, key: str, low: int, high: int, *, log: bool) -> int:
        assert not log
        self.params[key] = high
        return high


class Study:
    """A study of the stand-in."""

    def __init__(self) -> None:
        self.trials: list[Any] = []
        self.sampler: Any = None

    def ask(self) -> Trial:
        trial = Trial(number=len(self.trials), params={}, finished=False, value=None)
        trial.state = SimpleNamespace(is_finished=lambda: trial.finished)
        self.trials.append(trial)
        return trial

    def tell(self, number: int, value: float | None = None, state: str | None = None) -> None:
        assert (value is None) == (state == "FAIL")
        self.trials[number].finished, self.trials[number].value = True, value

    @property
    def best_trial(self) -> Trial:
        best: Trial = max(self.trials, key=lambda trial: -1 if trial.value is None else trial.value)
        return best


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Replace training by a score, the number of the trial; trial 1 fails. Return the commands."""
    started: list[Sequence[str]] = []

    def run(command: Sequence[str], folder: Path) -> int:
        started.append(command)
        return 2 if folder.name == "trial-1" else 0

    def dev_score(folder: Path) -> tuple[str, seqx.Score]:
        return "bleu", seqx.Score(value=float(folder.name.removeprefix("trial-")), signature="")

    monkeypatch.setattr(seqx_optuna, "_run", run)
    monkeypatch.setattr(seqx_optuna, "_dev_score", dev_score)
    return started


def tune(*arguments: str, trials: int = 3) -> Result:
    options = ["--trials", str(trials), "--folder", "tuned", "--profile", "sample"]
    return CliRunner().invoke(main, ["tune", "wmt_en_de", *options, *arguments])


def test_settings_are_chosen_and_passed_to_runs(
    commands: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    optuna, study = ModuleType("optuna"), Study()
    vars(optuna).update(
        logging=SimpleNamespace(set_verbosity=lambda _: None, WARNING=0),
        samplers=SimpleNamespace(TPESampler=lambda seed: seed),
        trial=SimpleNamespace(TrialState=SimpleNamespace(FAIL="FAIL")),
        create_study=lambda **_: study,
    )
    monkeypatch.setitem(sys.modules, "optuna", optuna)
    ranges = ["training.schedule.peak={log_uniform: [1e-4, 1e-2]}", "training.steps={uniform: [5, 9]}"]
    result = tune(LAYERS, *ranges, "training.tokens=300")
    assert result.exit_code == 0, result.output
    settings = [
        "training.tokens=300",
        "model.decoder.layers=3",
        "training.schedule.peak=0.01",
        "training.steps=9",
    ]
    expected = ["seqx", "run", "wmt_en_de", "--profile", "sample", "--folder", "tuned/trial-0", *settings]
    assert commands[0] == expected
    assert "trial 1: failed, see tuned/trial-1.log: " in result.stderr
    assert result.stdout.startswith("best: trial 2, model.decoder.layers=3 ")
    assert len(commands) == 3
    assert study.sampler == 1
    assert tune(LAYERS, *ranges, "training.tokens=300", trials=4).exit_code == 0
    assert study.sampler == 4  # the seed: with that of the first start, trial 3 would repeat trial 0


def test_wrong_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for argument, message in (
        ("training.steps={uniform: [1]}", "tune: write a range as {uniform: [LOW, HIGH]}\n"),
        ("training.stepz=3", "training.stepz=3: training: this section has no setting 'stepz'"),
        ("training.steps", "training.steps: an override has the form key.path=value"),
    ):
        result = tune(LAYERS, argument)
        assert result.exit_code == 2
        assert result.stderr.startswith(message), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_missing_optuna_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = tune(LAYERS)
    assert result.exit_code == 2
    assert "pip install '.[optuna]'" in result.stderr


def test_study_of_optuna_is_resumed(
    commands: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    peak = "training.schedule.peak={log_uniform: [1e-4, 1e-2]}"
    with monkeypatch.context() as patch:
        patch.setattr(seqx_optuna, "_run", interrupt)
        assert tune(LAYERS, peak).exit_code == 130
    for trials in (1, 2, 3):
        assert tune(LAYERS, peak, trials=trials).exit_code == 0
    result = tune(LAYERS, peak, trials=4)
    assert result.exit_code == 0, result.output
    assert [Path(command[6]).name for command in commands] == [f"trial-{number}" for number in range(4)]
    peaks = {setting for command in commands for setting in command if ".peak=" in setting}
    assert len(peaks) == 4  # a resumed study does not repeat the settings of its first trials
    assert result.stdout.startswith("best: trial 3, model.decoder.layers=")
