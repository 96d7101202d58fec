"""A conditional step that is skipped changes nothing, and does not wait for the device."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import seqx_training
from seqx.interfaces.tensors import Layers
from seqx.training.loop import conditional_step, create_optimizer_state


class SmallModule(nn.Module):
    """A module with a hidden matrix, an embedding and a vector."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(5, 4)
        self.layers: Layers[nn.Linear] = Layers([nn.Linear(4, 4)])

    def forward(self) -> Tensor:
        x: Tensor = self.layers[0](self.embedding.weight)
        return x.square().sum()


Build = Callable[[nn.Module], torch.optim.Optimizer]

BUILDS: dict[str, Build] = {
    "adam": seqx_training.Adam().build,
    "adamw": seqx_training.AdamW(decay=0.1).build,
    "muon and adamw": seqx_training.Muon().build,
    "adafactor": seqx_training.Adafactor().build,
    "adam, not fused": lambda module: torch.optim.Adam(module.parameters(), fused=False),
    "sgd": lambda module: torch.optim.SGD(module.parameters()),
    "sgd with momentum": lambda module: torch.optim.SGD(module.parameters(), momentum=0.9),
    "sgd with momentum, fused": lambda module: torch.optim.SGD(module.parameters(), momentum=0.9, fused=True),
}


def train(build: Build, signs: str) -> tuple[SmallModule, torch.optim.Optimizer]:
    """Return module and optimizer after finite updates (+) and non-finite, skipped ones (-)."""
    module = SmallModule()
    optimizer = build(module)
    for sign in signs:
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        module().backward()
        if sign == "-":
            for p in module.parameters():
                assert p.grad is not None
                p.grad.fill_(float("nan"))
        conditional_step(torch.tensor(sign == "-"), optimizer)
        optimizer.zero_grad()
    return module, optimizer


def equal(one: object, other: object) -> bool:
    """Return true if two nested states have equal values."""
    match one, other:
        case Tensor(), Tensor():
            return torch.equal(one, other)
        case dict(), dict():
            return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(equal, one, other))
        case _:
            return one == other


@pytest.mark.promise("skipped-update-changes-nothing")
@pytest.mark.parametrize("signs", ["-++", "+-+", "++-", "+--+-+"])
@pytest.mark.parametrize("name", BUILDS)
def test_skipped_step_changes_nothing(name: str, signs: str) -> None:
    module, optimizer = train(BUILDS[name], signs)
    expected, expected_optimizer = train(BUILDS[name], signs.replace("-", ""))
    assert equal(module.state_dict(), expected.state_dict())
    assert equal(optimizer.state_dict(), expected_optimizer.state_dict())
    assert not hasattr(optimizer, "found_inf")


def test_conditional_step_equals_the_step_of_the_optimizer() -> None:
    for build in BUILDS.values():
        module, _ = train(build, "+++")
        expected = SmallModule()
        optimizer = build(expected)
        for _ in range(3):
            for group in optimizer.param_groups:
                group["lr"] = 0.01
            optimizer.zero_grad()
            expected().backward()
            optimizer.step()
        assert equal(module.state_dict(), expected.state_dict())


def test_optimizer_state_created_ahead_changes_no_step() -> None:
    for build in BUILDS.values():
        expected, _ = train(build, "++")

        def build_with_state(module: nn.Module, build: Build = build) -> torch.optim.Optimizer:
            optimizer = build(module)
            create_optimizer_state(optimizer)
            assert all(p.grad is None for p in module.parameters())
            return optimizer

        module, optimizer = train(build_with_state, "++")
        assert equal(module.state_dict(), expected.state_dict())
        before = copy.deepcopy(optimizer.state_dict())
        create_optimizer_state(optimizer)
        assert equal(optimizer.state_dict(), before)


class HostReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A counter of values that the host reads from tensors; on a GPU it would wait for each of them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.promise("no-device-sync")
@pytest.mark.parametrize(
    "name", ["adafactor", "adam", "adamw", "muon and adamw", "sgd with momentum", "sgd with momentum, fused"]
)
def test_conditional_step_does_not_wait_for_the_device(name: str) -> None:
    module, optimizer = train(BUILDS[name], "+")
    module().backward()
    with HostReads() as reads:
        conditional_step(torch.tensor(data=True), optimizer)
    assert not reads.count


def test_conditional_step_waits_if_state_is_on_the_host() -> None:
    """The test above can fail: its counter notices a read."""
    module, optimizer = train(BUILDS["sgd"], "+")
    module().backward()
    with HostReads() as reads:
        conditional_step(torch.tensor(data=True), optimizer)
    assert reads.count == 1
