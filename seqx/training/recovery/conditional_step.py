"""A step of any torch optimizer that the device itself can skip, without leaving a trace."""

from collections.abc import Iterator

import torch
from torch import Tensor


def conditional_step(skip: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Make a step unless `skip`, a bool on the device, is true; then parameters and state do not change.

    Fused optimizers skip the step themselves: they read `found_inf` on the device, as with
    `torch.amp.GradScaler`. For other optimizers the device restores parameters and state from a copy, which
    needs memory. If the state cannot be restored on the device (the first step will create it, or it is on
    the host, like the counters of some optimizers), the host waits for `skip` and decides.
    """
    if not _has_state(optimizer):
        # A fused SGD that skips its first step, for example, leaves its momentum uninitialised.
        if not bool(skip):
            optimizer.step()
    elif getattr(optimizer, "_step_supports_amp_scaling", False):
        _step_with_found_inf(skip, optimizer)
    elif _is_restorable(optimizer):
        _step_and_restore(skip, optimizer)
    elif not bool(skip):
        optimizer.step()


def create_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Let a fused Adam or AdamW without state create it, by a skipped step. Ignore other optimizers."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    if optimizer.state or not fused or not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return
    for p in parameters:
        p.grad = torch.zeros_like(p)
    _step_with_found_inf(torch.ones((), dtype=torch.bool, device=parameters[0].device), optimizer)
    optimizer.zero_grad(set_to_none=True)


def _step_with_found_inf(skip: Tensor, optimizer: torch.optim.Optimizer) -> None:
    attributes: object = optimizer
    vars(attributes).update(found_inf=skip.float(), grad_scale=None)
    try:
        optimizer.step()
    finally:
        del vars(attributes)["found_inf"], vars(attributes)["grad_scale"]


def _with_gradient(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    return (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None)


def _has_state(optimizer: torch.optim.Optimizer) -> bool:
    return all(optimizer.state.get(p) for p in _with_gradient(optimizer))


def _is_restorable(optimizer: torch.optim.Optimizer) -> bool:
    """Return true if all of the state is tensors on the devices of their parameters."""
    return all(
        all(isinstance(value, Tensor) and value.device == p.device for value in optimizer.state[p].values())
        for p in _with_gradient(optimizer)
    )


@torch.no_grad()
def _step_and_restore(skip: Tensor, optimizer: torch.optim.Optimizer) -> None:
    parameters = list(_with_gradient(optimizer))
    before = [
        (p.clone(), {name: value.clone() for name, value in optimizer.state[p].items()}) for p in parameters
    ]
    optimizer.step()
    for p, (value, state) in zip(parameters, before, strict=True):
        p.copy_(torch.where(skip, value, p))
        for name, old in state.items():
            now = optimizer.state[p][name]
            now.copy_(torch.where(skip, old, now))
