"""A step of any torch optimizer that is made, or left out without a trace, as the device decides."""

from collections.abc import Iterator

import torch
from torch import Tensor


def conditional_step(skip: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Step unless `skip`, a bool on the device, is true: then parameters and state stay as they are, bitwise.

    Fused optimizers leave the step out by themselves: they read `found_inf` on the device, as they do for
    `torch.amp.GradScaler`. Of any other one the device puts parameters and state back, which needs memory for
    a copy of both. Only where it cannot put everything back (state that the first step will make, or that
    lies on the host, as the counters of some optimizers do) the host decides, and waits for the device.
    """
    if not _has_state(optimizer):
        # Torch's fused SGD, for one, makes its momentum of whatever lies in memory when it skips this.
        if not bool(skip):
            optimizer.step()
    elif getattr(optimizer, "_step_supports_amp_scaling", False):
        _told(skip, optimizer)
    elif _can_be_put_back(optimizer):
        _put_back(skip, optimizer)
    elif not bool(skip):
        optimizer.step()


def create_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Have a fused Adam or AdamW that has no state yet make it; it learns nothing. Others are left alone."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    if optimizer.state or not fused or not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return
    for p in parameters:
        p.grad = torch.zeros_like(p)
    _told(torch.ones((), dtype=torch.bool, device=parameters[0].device), optimizer)
    optimizer.zero_grad(set_to_none=True)


def _told(skip: Tensor, optimizer: torch.optim.Optimizer) -> None:
    marked: object = optimizer
    vars(marked).update(found_inf=skip.float(), grad_scale=None)
    try:
        optimizer.step()
    finally:
        del vars(marked)["found_inf"], vars(marked)["grad_scale"]


def _learning(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    return (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None)


def _has_state(optimizer: torch.optim.Optimizer) -> bool:
    return all(optimizer.state.get(p) for p in _learning(optimizer))


def _can_be_put_back(optimizer: torch.optim.Optimizer) -> bool:
    """Whether all of the state is tensors that lie where their parameters do."""
    return all(
        all(isinstance(value, Tensor) and value.device == p.device for value in optimizer.state[p].values())
        for p in _learning(optimizer)
    )


@torch.no_grad()
def _put_back(skip: Tensor, optimizer: torch.optim.Optimizer) -> None:
    learning = list(_learning(optimizer))
    before = [
        (p.clone(), {name: value.clone() for name, value in optimizer.state[p].items()}) for p in learning
    ]
    optimizer.step()
    for p, (value, state) in zip(learning, before, strict=True):
        p.copy_(torch.where(skip, value, p))
        for name, old in state.items():
            now = optimizer.state[p][name]
            now.copy_(torch.where(skip, old, now))
