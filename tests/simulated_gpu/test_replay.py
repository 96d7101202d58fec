"""On the simulated GPU, the decoding steps of a Transformer are captured once and then replayed."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

import seqx
from seqx.runtime.devices import autocast
from seqx_search import Beam
from seqx_search.processors import MinLength, NoRepeatNgram
from seqx_transformer import replay
from seqx_transformer.layers import ReLU
from seqx_transformer.replay import WARM_UP, Replayed
from seqx_transformer.static_slots import StaticSlots
from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import SimulatedGpu
from tests.simulated_gpu.small import (
    CPU,
    CUDA,
    LIMITS,
    SIZES,
    SOURCE,
    assert_same_answers,
    decode,
    registry,
    setup,
)
from tests.simulated_gpu.test_components import SPECIAL

BEAM = Beam(size=3)
SHORT = LIMITS.clamp_max(10)


def build(recipe_folder: Path, *overrides: str, seed: int = 1) -> seqx.Generator:
    """Return a model with weights so large that its outputs differ from step to step."""
    torch.manual_seed(seed)
    model = setup(recipe_folder, overrides).model(SIZES)
    assert isinstance(model, seqx.Generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model.eval()


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    replay.warn.cache_clear()
    caplog.set_level(logging.WARNING, "seqx.transformer")
    return caplog


@pytest.mark.parametrize(
    "search",
    [
        BEAM,
        Beam(size=1),
        Beam(size=2, nbest=2, processors=[MinLength(length=4), NoRepeatNgram(size=2)]),
        *(component.maker() for component in registry().components(seqx.Search).values()),
    ],
    ids=str,
)
def test_search_with_replayed_steps_gives_the_answers_of_the_cpu(
    search: seqx.Search, recipe_folder: Path, log: pytest.LogCaptureFixture
) -> None:
    model = build(recipe_folder)
    expected = decode(model, search, CPU, limits=SHORT)
    with SimulatedGpu() as gpu:
        model.to("cuda")
        assert_same_answers(decode(model, search, CUDA, limits=SHORT), expected)
        assert gpu.replays > WARM_UP
        assert not gpu.mixes
        assert_same_answers(decode(model, search, CUDA, limits=SHORT), expected)
    assert not log.records


def test_replayed_steps_do_not_wait(recipe_folder: Path) -> None:
    limits = torch.tensor([50, 33, 60, 41])
    with SimulatedGpu() as gpu, torch.no_grad():
        model, source = build(recipe_folder).to("cuda"), SOURCE.to(CUDA)
        gpu.reset()
        Beam(size=3)(model, source, limits)
        steps = gpu.replays + WARM_UP
        assert steps >= 32
        assert gpu.waits.total() <= -(-steps // 8), gpu.waits


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replay_of_a_step_equals_calling_it(
    precision: Literal["fp32", "bf16"], recipe_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay executes no code, so all that a step reads must be in tensors that keep their addresses."""
    with SimulatedGpu() as gpu:
        model = build(recipe_folder).to("cuda")
        actual = decode(model, BEAM, CUDA, precision=precision)
        replays = gpu.replays
        monkeypatch.setattr(replay, "WARM_UP", 1000)
        assert_same_answers(actual, decode(model, BEAM, CUDA, precision=precision))
        assert replays == gpu.replays > 8


def test_ensemble_replays_the_steps_of_each_model(recipe_folder: Path) -> None:
    models = [build(recipe_folder, seed=seed) for seed in (1, 2)]
    ensemble = registry().components(seqx.Ensemble)["generators"].maker(models).eval()
    expected = decode(ensemble, BEAM, CPU)
    with SimulatedGpu() as gpu:
        assert_same_answers(decode(ensemble.to("cuda"), BEAM, CUDA), expected)
        assert gpu.replays > 16


def test_guided_parser_replays_steps(recipe_folder: Path) -> None:
    model = build(recipe_folder, *SPECIAL["guided"])
    expected = decode(model, BEAM, CPU)
    with SimulatedGpu() as gpu:
        assert_same_answers(decode(model.to("cuda"), BEAM, CUDA), expected)
        assert gpu.replays > WARM_UP


def test_graphs_of_one_model_use_the_same_memory(recipe_folder: Path) -> None:
    with SimulatedGpu(), torch.no_grad():
        model = build(recipe_folder).to("cuda")
        pools = []
        for capacity in (20, 9, 30, 20):
            slots = model.slots(model.encode(SOURCE.to(CUDA)), len(LIMITS), 3, capacity)
            for _ in range(WARM_UP + 1):
                slots.step(torch.full((12,), seqx.BOS, device=CUDA))
            decoder: Any = vars(slots)["_decoder"]
            pools.append(Replayed._last[decoder._decoder].pool())
    assert len({*pools}) == 1


class Waiting(ReLU):
    """A network that waits for the device."""

    def forward(self, x: Tensor) -> Tensor:
        assert float(x.detach().float().mean()) < 1e9
        return super().forward(x)


def test_step_that_cannot_be_captured_is_called_and_one_warning_says_why(
    recipe_folder: Path, log: pytest.LogCaptureFixture
) -> None:
    models = [build(recipe_folder, seed=seed) for seed in (1, 2)]
    expected = [decode(model, BEAM, CPU, limits=SHORT) for model in models]
    for model in models:
        for module in [*model.modules()]:
            if type(module) is ReLU:
                module.__class__ = Waiting
    with SimulatedGpu() as gpu:
        for model, answers in zip(models, expected, strict=True):
            model.to("cuda")
            for _ in range(2):
                assert_same_answers(decode(model, BEAM, CUDA, limits=SHORT), answers)
        assert gpu.replays == 0
    (message,) = log.messages
    assert message.endswith(
        "cannot be captured: CUDA error: operation not permitted when stream is capturing"
    )


def test_out_of_memory_error_of_a_capture_is_no_reason_to_stop_capturing(
    recipe_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    capture: Callable[..., Any] = replay.capture
    with SimulatedGpu() as gpu, autocast(CUDA, "fp32"):
        model = build(recipe_folder).to("cuda")
        monkeypatch.setattr(replay, "capture", fail)
        with pytest.raises(torch.OutOfMemoryError):
            decode(model, BEAM, CUDA)
        monkeypatch.setattr(replay, "capture", capture)
        decode(model, BEAM, CUDA)
        assert gpu.replays > 0


def test_cached_memory_is_freed_if_a_capture_does_not_fit() -> None:
    """The allocator frees no cached memory during a capture."""
    with SimulatedGpu() as gpu:
        x = torch.ones(3, device=CUDA)

        def function() -> Tensor:
            if gpu.graph is not None and not gpu.emptied:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x + 1

        replayed = Replayed(torch.nn.Identity(), CUDA)
        for _ in range(WARM_UP + 2):
            assert replayed(function).tolist() == [2, 2, 2]
        assert (gpu.emptied, gpu.replays) == (1, 2)


@pytest.mark.parametrize(
    ("overrides", "hypotheses", "capacity", "static"),
    [
        ([], 3, 20, True),
        ([], 3, 342, False),
        ([], 1, 1024, True),
        ([], 3, None, False),
        (SPECIAL["decoder_only"], 3, 20, False),
    ],
)
def test_steps_have_one_shape_if_the_outputs_are_short_and_there_is_a_source(
    overrides: list[str], hypotheses: int, capacity: int | None, static: bool, recipe_folder: Path
) -> None:
    with SimulatedGpu(), torch.no_grad():
        model = build(recipe_folder, *overrides).to("cuda")
        slots = model.slots(model.encode(SOURCE.to(CUDA)), len(LIMITS), hypotheses, capacity)
        assert isinstance(vars(slots)["_decoder"], StaticSlots) == static
