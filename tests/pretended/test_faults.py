"""The tests of components find faults that are planted into an update."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seqx
from seqx.data.store import Store
from tests.pretended.device import MixError, PretendedDevice
from tests.pretended.small import CUDA, described, training


class Faulty(seqx.Objective):
    """An objective with a fault."""

    def __init__(self, inner: seqx.Objective, fault: Any) -> None:
        super().__init__()
        self.inner, self.fault = inner, fault

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        sums = dict(self.inner(model, batch))
        return sums | {"loss": self.fault(sums["loss"])}


def update(place: Path, store: Store, fault: Any) -> Mapping[str, int]:
    """Return the places where the host waits in an update with a fault."""
    what = described(place, [])
    vars_of_training: Any = what.training
    object.__setattr__(vars_of_training, "objective", Faulty(what.training.objective, fault))
    with PretendedDevice() as gpu, training(what, store, CUDA) as (_, stream):
        next(stream)
        gpu.forget()
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
def test_a_wait_in_an_update_is_counted(fault: Any, place: Path, store: Store) -> None:
    waits = update(place, store, fault)
    assert list(waits.values()) == [2]  # once in each part of the update
    assert all("tests/pretended/test_faults.py" in where for where in waits)


def test_an_update_without_a_fault_waits_for_nothing(place: Path, store: Store) -> None:
    assert not update(place, store, lambda loss: loss * 1)


def test_a_tensor_of_the_cpu_in_an_update_is_refused(place: Path, store: Store) -> None:
    with pytest.raises(MixError, match=r"tests/pretended/test_faults\.py"):
        update(place, store, lambda loss: (loss[None] * torch.ones(1)).sum())
