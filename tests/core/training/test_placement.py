"""A strategy that does not call the methods of its base class is reported before training."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from seqx.errors import PluginError
from seqx.parallel import SINGLE_PROCESS, World
from seqx.parallel.parallelism import SingleDevice, Step
from seqx.training import placement
from seqx.training.placement import build_strategy, optimizer_of, set_up
from tests.plugins.watch.simulation import Placeholder

CPU = torch.device("cpu")


def step() -> Step:
    model: Any = nn.Linear(2, 2)
    return Step(model, Placeholder())


class WithoutSetup(SingleDevice):
    """A strategy whose `setup` does not call that of its base class."""

    def setup(self, step: Step, world: World, device: torch.device) -> None:
        self.step = step.to(device)


class WithoutOptimizer(SingleDevice):
    """A strategy whose `build_optimizer` does not keep the optimizer."""

    def build_optimizer(self, optimizer: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.step.parameters())


def test_setup_of_a_strategy_that_does_not_call_its_base_class_is_named() -> None:
    message = (
        r"test_placement.py:\d+: setup of the strategy does not set world, device, stragglers; "
        r"call super\(\)\.setup\(step, world, device\)"
    )
    with pytest.raises(PluginError, match=message):
        set_up(WithoutSetup(), step(), SINGLE_PROCESS, CPU)


def test_strategy_that_does_not_keep_its_optimizer_is_named() -> None:
    message = r"test_placement.py:\d+: build_optimizer of the strategy does not set optimizer; call super\(\)"
    with pytest.raises(PluginError, match=message):
        optimizer_of(WithoutOptimizer.of(step(), CPU), Placeholder())


def test_compiled_layers_on_a_cpu_give_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(placement, "compile_layers", lambda _: 0)
    for compiled in (False, True):
        config: Any = SimpleNamespace(
            objective=Placeholder(), seed=1, parallel=None, weight_precision="fp32", compile=compiled
        )
        build_strategy(config, step().model, SINGLE_PROCESS, CPU)
        assert ("training.compile=false" in capsys.readouterr().err) == compiled
