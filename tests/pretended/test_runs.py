"""Runs on the simulated GPU in bf16 with dropout, stopped and resumed; answers of a model."""

import os
from pathlib import Path

import pytest
import torch

from seqx import Request
from seqx.inference import load
from seqx.run_record import Record
from tests.models import PARSING
from tests.pretended import backend  # noqa: F401  before the first backward pass
from tests.pretended.device import PretendedDevice
from tests.stories.tiny import TINY, done, lines, seqx, tiny, weights

STOPPER = '''\
import os
import signal

import seqx


class Stopper(seqx.Callback):
    """Sends SIGTERM after an update."""

    @seqx.hookimpl
    def updated(self, update: seqx.Update) -> None:
        if str(update.step) == os.environ.get("STOP_AT"):
            signal.raise_signal(signal.SIGTERM)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Callback, stopper=Stopper)
'''
TRAINING = TINY.partition("training:")[2].replace("precision: fp32", "precision: auto")
RECIPES = {
    "translation": f"plugins: [stopper.py]\n{TINY.partition('training:')[0]}training:{TRAINING}",
    "parsing": f"plugins: [stopper.py]\n{PARSING}training:{TRAINING}".replace(
        "objective: {type: cross_entropy, smoothing: 0.1}", "objective: {type: tagged, inner: cross_entropy}"
    ),
}
RECIPES = {
    name: text.replace("callbacks: [", "callbacks: [stopper, ").replace("dev: 6, test: 6", "dev: 3, test: 3")
    for name, text in RECIPES.items()
}


@pytest.fixture(autouse=True)
def _folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("stopper.py").write_text(STOPPER, encoding="utf-8")


@pytest.mark.parametrize(("name", "ema"), [("translation", False), ("translation", True), ("parsing", False)])
def test_resumed_run_ends_with_bitwise_equal_weights(
    name: str, ema: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(RECIPES[name])
    more = ["training.ema={decay: 0.5}"] if ema else []
    with PretendedDevice() as gpu:
        done("run", recipe, "--device", "cuda", "--folder", "whole", *more)
        assert not gpu.mixes
    with PretendedDevice():
        monkeypatch.setenv("STOP_AT", "3")
        stopped = seqx("run", recipe, "--device", "cuda", "--folder", "parts", *more)
        assert stopped.exit_code == os.EX_TEMPFAIL, stopped.output
    monkeypatch.delenv("STOP_AT")
    with PretendedDevice():
        done("run", recipe, "--device", "cuda", "--folder", "parts", *more)
    whole, parts = weights(Path("whole/model")), weights(Path("parts/model"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert [row["step"] for row in lines(Path("parts"), "start")] == [0, 3]
    assert [row["loss"] for row in lines(Path("whole"), "update")] == [
        row["loss"] for row in lines(Path("parts"), "update")
    ]
    assert Record.read(Path("whole")).environment["gpu"] == "pretended"


def request(text: str) -> Request:
    return Request(text=text, prefix="D", forbid=("der",))


@pytest.mark.parametrize(("name", "verb"), [("translation", "translate"), ("parsing", "parse")])
def test_model_gives_the_same_answers_as_on_the_cpu(name: str, verb: str) -> None:
    recipe = tiny(RECIPES[name])
    done("run", recipe, "--device", "cpu", "--folder", "whole", "training.precision=fp32")
    texts = ["The soldier answered.", "Emma is sick.", "There were many carpets in a hotel."]
    inputs = [request(text) for text in texts] if verb == "translate" else texts
    overrides = ["search.size=4", "search.nbest=2"]
    options = {"precision": "fp32", "overrides": overrides, "trust_local_plugins": True}
    expected = list(load("whole/model", device="cpu", **options).hypotheses(inputs))  # type: ignore[arg-type]
    with PretendedDevice() as gpu:
        predictor = load("whole/model", device="cuda", **options)  # type: ignore[arg-type]
        gpu.reset()
        actual = list(predictor.hypotheses(inputs))
        assert not gpu.mixes
    assert [[text for text, _ in answers] for answers in actual] == [
        [text for text, _ in answers] for answers in expected
    ]
