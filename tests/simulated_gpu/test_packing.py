"""Runs that begin on the simulated GPU have packed rows, also when they resume on a CPU, and vice versa."""

import json
import os
from pathlib import Path

import pytest

from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import SimulatedGpu
from tests.simulated_gpu.test_runs import RECIPES, SHORT_ANSWERS, _folder  # noqa: F401  a fixture
from tests.stories.tiny import done, lines, refused, seqx, tiny


def run(folder: str, device: str, *, stop_at: int | None = None) -> list[tuple[int, float]]:
    """Train on a device; return the target tokens and the padding of each update so far."""
    command: list[str | Path] = ["run", tiny(RECIPES["translation"]), "--device", device, "--folder", folder]
    command += [*SHORT_ANSWERS, "training.steps=2"]
    with pytest.MonkeyPatch.context() as patch:
        if stop_at is None:
            done(*command)
        else:
            patch.setenv("STOP_AT", str(stop_at))
            assert seqx(*command).exit_code == os.EX_TEMPFAIL
    return [(row["tokens"], row["padding"]) for row in lines(Path(folder), "update")]


def is_packed(folder: str) -> bool:
    files = sorted(Path(folder, "checkpoints").glob("*/checkpoint.json"))
    return bool(json.loads(files[-1].read_text(encoding="utf-8"))["progress"]["packed"])


def test_run_resumed_on_another_device_continues_with_the_same_batches() -> None:
    on_cpu = run("cpu", "cpu")
    with SimulatedGpu():
        on_gpu = run("gpu", "cuda")
    assert not is_packed("cpu")
    assert is_packed("gpu")
    assert on_cpu != on_gpu
    with SimulatedGpu():
        run("begun on gpu", "cuda", stop_at=1)
    assert run("begun on gpu", "cpu") == on_gpu
    run("begun on cpu", "cpu", stop_at=1)
    with SimulatedGpu():
        assert run("begun on cpu", "cuda") == on_cpu


def test_packing_can_be_set_on_a_cpu_and_is_refused_for_models_that_cannot_read_packed_rows() -> None:
    recipe = tiny(RECIPES["translation"])
    short = [*SHORT_ANSWERS, "training.steps=1"]
    done("run", recipe, "--device", "cpu", "--folder", "packed", "training.packing=true", *short)
    assert is_packed("packed")
    with SimulatedGpu():
        done("run", recipe, "--device", "cuda", "--folder", "padded", "training.packing=false", *short)
    assert not is_packed("padded")
    message = refused("check", recipe, "training.packing=true", "model.encoder={type: lstm}")
    assert "training.packing=true: the model cannot read several examples in a row; set packing" in message


def test_parser_has_packed_rows_on_a_gpu() -> None:
    recipe = tiny(RECIPES["parsing"], "parsing.yaml")
    with SimulatedGpu() as gpu:
        done("run", recipe, "--device", "cuda", "--folder", "parser", *SHORT_ANSWERS, "training.steps=1")
        assert not gpu.mixes
    assert is_packed("parser")


def test_convolutional_model_has_packed_rows_on_a_gpu() -> None:
    stack = "{type: convolution, layers: 2, width: 16"
    model = [f"model.encoder={stack}}}", f"model.decoder={stack}, attention: multihead}}"]
    short = [*SHORT_ANSWERS, "training.steps=1", *model]
    with SimulatedGpu() as gpu:
        done("run", tiny(RECIPES["translation"]), "--device", "cuda", "--folder", "convolution", *short)
        assert not gpu.mixes
    assert is_packed("convolution")
