"""On the simulated GPU, runs in bf16 with dropout resume exactly, and models answer as on the CPU."""

import os
from pathlib import Path

import pytest
import torch

from seqx import Request
from seqx.inference import load
from seqx.run_record import Record
from tests.models import PARSING
from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import SimulatedGpu
from tests.stories.tiny import STOPPER, TINY, done, lines, seqx, tiny, weights

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
SHORT_ANSWERS = ["search.size=2", "search.ratio=0.1", "search.extra=3", "training.average=1"]


@pytest.fixture(autouse=True)
def _folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("stopper.py").write_text(STOPPER, encoding="utf-8")


EMA = "training.ema={decay: 0.5}"


@pytest.mark.parametrize(
    ("name", "settings", "device"),
    [
        ("translation", [EMA], "cuda"),
        ("translation", [EMA, "training.weight_precision=bf16"], "cuda"),
        ("parsing", [], "cuda:1"),
    ],
)
def test_resumed_run_ends_with_bitwise_equal_weights(
    name: str, settings: list[str], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that resumes on another GPU, `device`, continues with the random numbers of the first one."""
    recipe = tiny(RECIPES[name])
    overrides = [*SHORT_ANSWERS, "training.steps=2", *settings]
    with SimulatedGpu() as gpu:
        done("run", recipe, "--device", "cuda", "--folder", "uninterrupted", *overrides)
        assert not gpu.mixes
    with SimulatedGpu():
        monkeypatch.setenv("STOP_AT", "1")
        stopped = seqx("run", recipe, "--device", "cuda", "--folder", "resumed", *overrides)
        assert stopped.exit_code == os.EX_TEMPFAIL, stopped.output
    monkeypatch.delenv("STOP_AT")
    with SimulatedGpu() as gpu, monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "device_count", lambda: 2)

        def set_rng_state(state: torch.Tensor, target: torch.device | int) -> None:
            index = target if isinstance(target, int) else target.index or 0
            if index == (torch.device(device).index or 0):
                gpu.generator.set_state(state)

        patched.setattr(torch.cuda, "set_rng_state", set_rng_state)
        done("run", recipe, "--device", device, "--folder", "resumed", *overrides)
    expected, resumed = weights(Path("uninterrupted/model")), weights(Path("resumed/model"))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert [row["step"] for row in lines(Path("resumed"), "start")] == [0, 1]
    assert [row["loss"] for row in lines(Path("uninterrupted"), "update")] == [
        row["loss"] for row in lines(Path("resumed"), "update")
    ]
    assert Record.read(Path("uninterrupted")).environment["gpu"] == "simulated"


def test_frozen_parameters_keep_their_bits() -> None:
    recipe, short = tiny(RECIPES["translation"]), [*SHORT_ANSWERS, "training.steps=2"]
    done("run", recipe, "--device", "cpu", "--folder", "first", *short)
    frozen = "training.init_from={model: first, freeze: [encoder, '*.key.*', '*.norm.*'], old_test: false}"
    with SimulatedGpu() as gpu:
        done("run", recipe, "--device", "cuda", "--folder", "tuned", *short, frozen)
        assert not gpu.mixes
    before, after = weights(Path("first/model")), weights(Path("tuned/model"))
    for name, old in before.items():
        is_frozen = name.startswith("encoder.") or ".key." in name or ".norm." in name
        assert torch.equal(old, after[name]) == is_frozen, name


def request(text: str) -> Request:
    return Request(input=text, prefix="D", forbid=("der",))


@pytest.mark.parametrize(("name", "command"), [("translation", "translate"), ("parsing", "parse")])
def test_model_gives_the_same_answers_as_on_the_cpu(name: str, command: str) -> None:
    recipe = tiny(RECIPES[name])
    short = ["training.steps=3", "training.average=1"]
    done("run", recipe, "--device", "cpu", "--folder", "run", "training.precision=fp32", *short)
    texts = ["The soldier answered.", "Emma is sick.", "There were many carpets in a hotel."]
    inputs = [request(text) for text in texts] if command == "translate" else texts
    overrides = ["search.size=4", "search.nbest=2"]
    options = {"precision": "fp32", "overrides": overrides, "trust_local_plugins": True}
    expected = list(load("run/model", device="cpu", **options).hypotheses(inputs))  # type: ignore[arg-type]
    with SimulatedGpu() as gpu:
        predictor = load("run/model", device="cuda", **options)  # type: ignore[arg-type]
        gpu.reset()
        actual = list(predictor.hypotheses(inputs))
        assert not gpu.mixes
    assert [[text for text, _ in answers] for answers in actual] == [
        [text for text, _ in answers] for answers in expected
    ]
