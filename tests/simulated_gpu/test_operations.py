"""The number of operations of a decoding step of a Transformer of the depth of base, with beam size 4.

    pytest tests/simulated_gpu/test_operations.py -s      # prints the operations on a CPU

An operation on few sentences takes longer to call than to compute. Views are not counted.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import seqx
from seqx import markdown_table
from seqx.inference.packing import pack
from seqx.runtime.devices import autocast
from seqx_search import Beam
from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import NO_KERNELS, SimulatedGpu, operation_name
from tests.simulated_gpu.small import CUDA, SIZES, SOURCE, setup
from tests.simulated_gpu.test_kernels import BASE

STEPS = 8
"""Steps between two copies to the host, which are compared."""

MAX_OPERATIONS = 220


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that counts operations by name, except views."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted = Counter[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = operation_name(func)
        if not (func.is_view or name in NO_KERNELS):
            self.counted[name] += 1
        return func(*args, **(kwargs or {}))


def build_model(folder: Path) -> seqx.Generator:
    torch.manual_seed(1)
    model = setup(folder, BASE).model(SIZES)
    assert isinstance(model, seqx.Generator)
    return model.eval()


@torch.no_grad()
def decode(model: seqx.Generator, source: seqx.Column, length: int) -> None:
    """Decode outputs of a length, which is also their limit."""
    nbests = Beam(size=4)(model, source, torch.full((len(source.values),), length))
    assert {len(nbest[0].ids) for nbest in nbests} == {length}


def test_step_on_a_cpu_has_few_operations(recipe_folder: Path) -> None:
    model = build_model(recipe_folder)
    pack(model, "fp32", min_size=1)
    decode(model, SOURCE, 1)  # joins weights
    counted = []
    for length in (4, 4 + STEPS):
        with Operations() as operations:
            decode(model, SOURCE, length)
        counted.append(operations.counted)
    step = counted[1] - counted[0]
    rows = [(name, f"{count / STEPS:.1f}") for name, count in step.most_common()]
    print(*markdown_table(("operation", "per step"), rows), sep="\n")  # noqa: T201
    assert step.total() <= MAX_OPERATIONS * STEPS


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_step_on_a_gpu_launches_few_kernels(precision: Literal["fp32", "bf16"], recipe_folder: Path) -> None:
    kernels = []
    with SimulatedGpu() as gpu, autocast(CUDA, precision):
        model, source = build_model(recipe_folder).to("cuda"), SOURCE.to(CUDA)
        for steps in (STEPS, 2 * STEPS):
            gpu.reset()
            decode(model, source, steps - 1)
            kernels.append(gpu.kernels)
    assert kernels[1] - kernels[0] <= MAX_OPERATIONS * STEPS
