"""Modules on the meta device get neither memory nor initial values."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from seqx.interfaces.tensors import ScaledEmbedding
from seqx.runtime.meta_device import meta_device


def test_modules_on_the_meta_device_have_shapes_only() -> None:
    with meta_device():
        embedding = ScaledEmbedding(2**40, 512)
        norm = nn.Linear(3, 4)
    assert embedding.weight.is_meta
    assert embedding.weight.shape == (2**40, 512)
    assert isinstance(embedding.weight, nn.Parameter)
    assert norm.weight.is_meta
    assert not torch.empty(1).is_meta


@pytest.mark.parametrize(
    "initialise",
    [
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.xavier_uniform_,
        nn.init.kaiming_uniform_,
        torch.Tensor.normal_,
        torch.Tensor.uniform_,
        lambda x: nn.init.normal_(tensor=x, std=2.0),
        lambda x: nn.init.kaiming_uniform_(tensor=x, a=2.0),
    ],
)
def test_initialisation_on_the_meta_device_returns_the_tensor(initialise: object) -> None:
    assert callable(initialise)
    with meta_device():
        x = torch.empty(2, 3)
        assert initialise(x) is x


def test_the_meta_device_computes_no_random_values() -> None:
    operations: list[str] = []

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            operations.append(str(func))
            return func(*args, **(kwargs or {}))

    with Recorder(), meta_device():  # type: ignore[no-untyped-call]
        nn.Linear(3, 4)
        nn.Embedding(3, 4)
        nn.LSTM(3, 4)
    assert operations
    assert not [name for name in operations if "uniform" in name or "normal" in name]


def test_initialisation_after_the_meta_device_has_values() -> None:
    with meta_device():
        pass
    assert nn.init.normal_(torch.zeros(20)).abs().min() > 0
