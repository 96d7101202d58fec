"""The simulated GPU detects faults in an update: waits and mixed devices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seqx
from seqx.data.store import Store
from tests.simulated_gpu.device import MixError, SimulatedGpu
from tests.simulated_gpu.small import CUDA, setup, training


class FaultyObjective(seqx.Objective):
    """An objective whose loss is passed through the function `fault`."""

    def __init__(self, inner: seqx.Objective, fault: Any) -> None:
        super().__init__()
        self.inner, self.fault = inner, fault

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        sums = dict(self.inner(model, batch))
        return sums | {"loss": self.fault(sums["loss"])}


def update(recipe_folder: Path, store: Store, fault: Any) -> Mapping[str, int]:
    """Run an update with a fault; return the waits of the host by line."""
    config = setup(recipe_folder, [])
    object.__setattr__(config.training, "objective", FaultyObjective(config.training.objective, fault))
    with SimulatedGpu() as gpu, training(config, store, CUDA) as (_, stream):
        next(stream)
        gpu.reset()
        next(stream)
        return dict(gpu.waits)


@pytest.mark.parametrize(
    "fault",
    [
        lambda loss: loss * 1.0 if loss.item() > 0 else loss,
        lambda loss: loss * loss.new_tensor([1.0])[0],
        lambda loss: loss + loss.detach()[None].nonzero().sum() * 0,
        lambda loss: loss + torch.zeros(3).to(loss.device).sum(),
    ],
)
def test_wait_in_an_update_is_counted(fault: Any, recipe_folder: Path, store: Store) -> None:
    waits = update(recipe_folder, store, fault)
    assert list(waits.values()) == [2]  # once in each microbatch
    assert all("tests/simulated_gpu/test_faults.py" in where for where in waits)


def test_update_without_fault_counts_no_wait(recipe_folder: Path, store: Store) -> None:
    assert not update(recipe_folder, store, lambda loss: loss * 1)


def test_cpu_tensor_in_an_update_raises_mix_error(recipe_folder: Path, store: Store) -> None:
    with pytest.raises(MixError, match=r"tests/simulated_gpu/test_faults\.py"):
        update(recipe_folder, store, lambda loss: (loss[None] * torch.ones(1)).sum())
