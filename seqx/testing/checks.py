"""Checks that the laws of all networks share."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqx.errors import UserError
from seqx.runtime.devices import autocast, has_bf16
from seqx.testing.law import Subject

Run = Callable[[Any], Tensor]
"""A function that calls a module on a sample and returns its outputs without padding."""


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Assert that two tensors are equal up to rounding errors."""
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def check_gradients(module: nn.Module, run: Run) -> None:
    """Assert that each trained parameter gets a gradient that is not all zeros."""
    outputs = run(module)
    # The sum of a normalised vector is constant and has no gradient, so outputs get random weights.
    (outputs * torch.randn_like(outputs)).sum().backward()  # type: ignore[no-untyped-call]
    without_gradient = [
        name
        for name, p in module.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.count_nonzero())
    ]
    assert not without_gradient, f"parameters without a gradient: {', '.join(without_gradient)}"


def check_state_dict(subject: Subject, run: Run, *arguments: Any) -> None:
    """Assert that a component with another seed gives the same outputs after it loads a state dict."""
    first, second = subject.build(*arguments), subject.build(*arguments, seed=1)
    second.load_state_dict(first.state_dict())
    assert_close(run(second), run(first))


@torch.no_grad()
def check_bfloat16(module: nn.Module, run: Run) -> None:
    """Assert that outputs under bfloat16 autocast differ by at most a tenth (of their norm) from float32.

    Skip the test if the CPU has no bfloat16 units, and torch has no kernel for it.
    """
    expected, cpu = run(module), torch.device("cpu")
    try:
        with autocast(cpu, "bf16"):
            actual = run(module).float()
    except UserError as error:
        if has_bf16(cpu):
            raise
        pytest.skip(str(error))
    difference = (actual - expected).norm() / expected.norm()
    assert difference < 0.1, f"outputs in bfloat16 differ by {difference:.2f} of their norm; at most 0.1"


@torch.no_grad()
def check_compilation(module: nn.Module, run: Run) -> None:
    """Assert that a module compiles to one graph without breaks, which gives the same outputs."""
    torch.compiler.reset()
    try:
        compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
        assert_close(compiled(module), run(module))
    finally:
        torch.compiler.reset()
