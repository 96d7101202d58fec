"""What is asked of every network, whatever it takes and gives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqx.errors import UserError
from seqx.runtime.devices import autocast, has_bf16
from seqx.testing.law import Subject

Run = Callable[[Any], Tensor]
"""Calls a module on a sample and gives those outputs that matter."""


def same(actual: Tensor, expected: Tensor) -> None:
    """The same but for rounding."""
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def parameters_learn(module: nn.Module, run: Run) -> None:
    """Each parameter that learns gets a gradient, and none that is all zeros."""
    outputs = run(module)
    # Random directions: the sum over a normalised vector has no gradient.
    (outputs * torch.randn_like(outputs)).sum().backward()  # type: ignore[no-untyped-call]
    idle = [
        name
        for name, p in module.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.count_nonzero())
    ]
    assert not idle, f"parameters without a gradient: {', '.join(idle)}"


def state_dict_holds_all(subject: Subject, run: Run, *given: Any) -> None:
    """One that loads another's weights gives its numbers."""
    first, second = subject.build(*given), subject.build(*given, seed=1)
    second.load_state_dict(first.state_dict())
    same(run(second), run(first))


@torch.no_grad()
def bfloat16_agrees(module: nn.Module, run: Run) -> None:
    """Under autocast outputs differ by at most a tenth from those in float32.

    The test is skipped, with a reason, on a CPU without units for bfloat16 that lacks a kernel.
    """
    expected, cpu = run(module), torch.device("cpu")
    try:
        with autocast(cpu, "bf16"):
            actual = run(module).float()
    except UserError as lacking:
        if has_bf16(cpu):
            raise
        pytest.skip(str(lacking))
    error = (actual - expected).norm() / expected.norm()
    assert error < 0.1, f"outputs in bfloat16 are {error:.2f} off"


@torch.no_grad()
def compiles(module: nn.Module, run: Run) -> None:
    """One graph, without breaks, gives the same numbers."""
    torch.compiler.reset()
    try:
        compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
        same(compiled(module), run(module))
    finally:
        torch.compiler.reset()
