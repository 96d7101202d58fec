"""After an out-of-memory error on the pretended GPU, the same update is computed in smaller parts."""

import dataclasses
from pathlib import Path

import pytest
import torch

from seqx.data.store import Store
from seqx.errors import UserError
from seqx.inference import load
from tests.models import RECIPE, write_model
from tests.pretended import backend  # noqa: F401  before the first backward pass
from tests.pretended.device import PretendedDevice
from tests.pretended.small import CUDA, Trained, described, training


def updates(place: Path, store: Store, memory: int | None) -> tuple[Trained, PretendedDevice]:
    """Make three updates of 200 tokens; from the second one on tensors have a maximum size."""
    what = described(place, ["training.tokens=200"])
    with PretendedDevice() as gpu, training(what, store, CUDA) as (found, stream):
        found.updates = [next(stream)]
        gpu.memory = memory
        found.updates += [next(stream) for _ in range(2)]
        gpu.memory = None
        found.updates = [
            dataclasses.replace(update, sums={name: value.cpu() for name, value in update.sums.items()})
            for update in found.updates
        ]
        found.model.to("cpu")
    return found, gpu


def test_an_update_is_computed_again_in_smaller_parts_and_learns_the_same(place: Path, store: Store) -> None:
    whole, _ = updates(place, store, None)
    parts, gpu = updates(place, store, 12_000)
    assert gpu.shortages
    assert gpu.emptied == sum(update.oom_retries for update in parts.updates) > 0
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    for name, weight in parts.weights.items():
        torch.testing.assert_close(weight, whole.weights[name], rtol=1e-4, atol=1e-5)


def test_one_example_that_is_too_large_is_named(place: Path, store: Store) -> None:
    with pytest.raises(
        UserError, match="update 2: cuda:0 has too little memory for a single example: example "
    ):
        updates(place, store, 700)


def test_inputs_are_answered_in_halves(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", text=RECIPE)
    texts = ["The soldier answered.", "Emma is sick.", "There were many carpets in a hotel."] * 10
    options = {"device": "cuda", "precision": "fp32"}
    with PretendedDevice() as gpu:
        predictor = load(folder, **options)  # type: ignore[arg-type]
        expected = predictor(texts)
        gpu.memory = 60_000
        assert predictor(texts) == expected
        assert gpu.shortages
        assert gpu.emptied
        gpu.memory = 1_000
        with pytest.raises(UserError, match="cuda ran out of memory with a single input"):
            predictor(texts)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_out_of_memory_errors_of_libraries_are_handled_alike(said: str, place: Path, store: Store) -> None:
    """A first try of each update fails after its first parts."""
    what = described(place, ["training.tokens=200"])
    with PretendedDevice(), training(what, store, CUDA) as (found, stream):
        first = next(stream)
        failed: list[int] = []

        def fail(_: object, given: tuple[torch.Tensor, ...]) -> None:
            if given[0].size(0) > 4:
                failed.append(given[0].size(0))
                raise RuntimeError(said)

        encoder = next(part for name, part in found.model.named_modules() if name == "encoder")
        encoder.register_forward_pre_hook(fail)
        second = next(stream)
        assert first.oom_retries == 0
        assert second.oom_retries == len(failed) > 0
