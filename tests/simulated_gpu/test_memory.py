"""After an out-of-memory error, updates and inputs are computed in smaller microbatches and batches."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from seqx.data.store import Store
from seqx.errors import UserError
from seqx.inference import load
from seqx.storage import state_dict
from seqx.training import chunked_loss
from tests.models import RECIPE, write_model
from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import Operation, SimulatedGpu
from tests.simulated_gpu.small import CUDA, SIZES, Trained, setup, training


def updates(recipe_folder: Path, store: Store, memory: int | None) -> tuple[Trained, SimulatedGpu]:
    """Compute three updates of 200 tokens; in the last two, larger tensors than `memory` bytes do not fit."""
    config = setup(recipe_folder, ["training.tokens=200"])
    with SimulatedGpu() as gpu, training(config, store, CUDA) as (result, stream):
        result.updates = [next(stream)]
        gpu.memory = memory
        result.updates += [next(stream) for _ in range(2)]
        gpu.memory = None
        result.updates = [
            dataclasses.replace(update, sums={name: value.cpu() for name, value in update.sums.items()})
            for update in result.updates
        ]
        result.model.to("cpu")
    return result, gpu


def test_update_in_smaller_microbatches_gives_the_same_weights(recipe_folder: Path, store: Store) -> None:
    whole, _ = updates(recipe_folder, store, None)
    split, gpu = updates(recipe_folder, store, 12_000)
    assert gpu.oom_errors
    assert gpu.emptied == sum(update.oom_retries for update in split.updates) > 0
    assert split.losses == pytest.approx(whole.losses, rel=1e-5)
    torch.testing.assert_close(split.weights, whole.weights, rtol=1e-4, atol=1e-5)


def test_message_names_an_example_that_is_too_large(recipe_folder: Path, store: Store) -> None:
    with pytest.raises(UserError, match="update 2: cuda:0 is out of memory with a single example: example "):
        updates(recipe_folder, store, 700)


class LargestLogits(SimulatedGpu):  # type: ignore[no-untyped-call]
    """A simulated GPU that records the largest number of rows of logits in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def allocate(self, nest: Any) -> None:
        for tensor in pytree.tree_leaves(nest):
            if isinstance(tensor, Tensor) and tensor.dim() and tensor.size(-1) == SIZES["target"]:
                self.rows = max(self.rows, tensor.numel() // tensor.size(-1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logits_of_all_target_tokens_are_never_in_memory(
    smoothing: float, recipe_folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = setup(recipe_folder, ["training.tokens=200", f"training.objective.smoothing={smoothing}"])
    row = 4 * SIZES["target"]
    monkeypatch.setattr(chunked_loss, "GPU_SHARE", 50 * row / (80 * 2**30))
    with LargestLogits() as gpu, training(config, store, CUDA, "bf16", groups=1) as (_, stream):
        assert next(stream).tokens > 2 * 50
    assert gpu.rows == 50


def test_predictor_splits_batches_after_out_of_memory_errors(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", text=RECIPE)
    texts = ["The soldier answered.", "Emma is sick.", "There were many carpets in a hotel."] * 10
    options = {"device": "cuda", "precision": "fp32"}
    with SimulatedGpu() as gpu:
        predictor = load(folder, **options)  # type: ignore[arg-type]
        expected = predictor(texts)
        gpu.memory = 60_000
        assert predictor(texts) == expected
        assert gpu.oom_errors
        assert gpu.emptied
        gpu.memory = 1_000
        with pytest.raises(UserError, match="cuda ran out of memory with a single input"):
            predictor(texts)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_out_of_memory_errors_of_libraries_are_handled(
    message: str, recipe_folder: Path, store: Store
) -> None:
    """The encoder fails for microbatches of more than four sentences."""
    config = setup(recipe_folder, ["training.tokens=200"])
    with SimulatedGpu(), training(config, store, CUDA) as (result, stream):
        first = next(stream)
        failed_sizes: list[int] = []

        def fail(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
            if inputs[0].size(0) > 4:
                failed_sizes.append(inputs[0].size(0))
                raise RuntimeError(message)

        encoder = next(part for name, part in result.model.named_modules() if name == "encoder")
        encoder.register_forward_pre_hook(fail)
        second = next(stream)
        assert first.oom_retries == 0
        assert second.oom_retries == len(failed_sizes) > 0


def test_checkpoint_needs_no_second_state_on_the_device(tmp_path: Path) -> None:
    """Each tensor is copied to the host, also if tensors share memory; the file is that of a CPU."""
    tensor = torch.arange(12.0).view(3, 4)
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cpu").mkdir()

    def states(tensor: Tensor) -> dict[str, Any]:
        return {"whole": tensor, "rows": tensor[1:], "columns": tensor.T, "single": tensor[0, :1].expand(3)}

    state_dict.write(tmp_path / "cpu", states(tensor))
    with KernelNames() as gpu:
        on_device = states(tensor.to(CUDA))
        gpu.names.clear()
        state_dict.write(tmp_path / "cuda", on_device)
    assert gpu.names == ["_to_copy"] * 4
    for name in (state_dict.TREE, state_dict.TENSORS):
        assert (tmp_path / "cuda" / name).read_bytes() == (tmp_path / "cpu" / name).read_bytes()


class KernelNames(SimulatedGpu):  # type: ignore[no-untyped-call]
    """A simulated GPU that records the operations that launch a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def _compute(self, operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if operation.has_kernel:
            self.names.append(operation.name)
        return super()._compute(operation, args, kwargs)
