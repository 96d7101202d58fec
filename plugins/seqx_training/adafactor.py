"""Adafactor that does not wait for the device."""

from typing import Any

import torch
from torch import Tensor

import seqx


class SyncFreeAdafactor(torch.optim.Adafactor):
    """torch's Adafactor with its step counter and its norms on the device.

    Torch's version reads two norms of each parameter on the host, which waits for the GPU each time. Like
    torch's fused optimizers, this one skips a step if `found_inf` is 1.
    """

    _step_supports_amp_scaling = True
    found_inf: Tensor
    """1 on the device to skip a step; set for the duration of a step, as by `torch.amp.GradScaler`."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # without a closure
        """Update all parameters that have a gradient."""
        skip = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    active = torch.ones((), device=p.device) if skip is None else 1 - _to_device_of(p, skip)
                    self._update(p, p.grad, group, active.double())

    def _update(self, p: Tensor, grad: Tensor, group: dict[str, Any], active: Tensor) -> None:
        """Compute torch's `_single_tensor_adafactor` if `active` is 1; change nothing if it is 0."""
        state = self.state[p]
        if not state:
            state.update(_initial_state(grad))
        state["step"] = _to_device_of(p, state["step"])  # checkpoints of torch's version have it on the CPU
        state["step"] += active.to(state["step"].dtype)
        skipped = active == 0
        grad = grad.masked_fill(skipped, 0)
        step = state["step"].double()
        weight = (step ** group["beta2_decay"]).masked_fill(skipped, 0).to(p.dtype)
        rate = step.rsqrt().clamp_max(group["lr"]) * (p.norm().double() / p.numel() ** 0.5).clamp_min(
            group["eps"][1]
        )
        if group["weight_decay"]:
            p.mul_((1 - active * group["lr"] * group["weight_decay"]).to(p.dtype))
        eps = torch.finfo(p.dtype).eps
        update = _variance(grad, state, weight, eps).clamp_(min=eps * eps).rsqrt_().mul_(grad)
        rms = update.norm().double() / (update.numel() ** 0.5 * group["d"])
        p.addcmul_(update, (active * rate / rms.clamp_min(1)).to(p.dtype), value=-1)


def _to_device_of(p: Tensor, scalar: Tensor) -> Tensor:
    """Return a scalar on the device of parameter `p`."""
    return seqx.to_device(scalar, p.device)


def _initial_state(grad: Tensor) -> dict[str, Tensor]:
    """Create the state before the first step, with the names of torch's version."""
    step = torch.zeros((), device=grad.device)
    if grad.dim() <= 1:
        return {"step": step, "variance": torch.zeros_like(grad)}
    *outer, rows, columns = grad.shape
    return {
        "step": step,
        "row_var": grad.new_zeros(*outer, rows, 1),
        "col_var": grad.new_zeros(*outer, 1, columns),
    }


def _variance(grad: Tensor, state: dict[str, Tensor], weight: Tensor, eps: float) -> Tensor:
    """Update the moving averages with the new value's `weight`; return the estimated squared gradient."""
    if grad.dim() <= 1:
        return state["variance"].lerp_(grad * grad, weight).clone()
    row, column = state["row_var"], state["col_var"]
    row.lerp_(grad.norm(dim=-1, keepdim=True).square_().div_(grad.size(-1)), weight)
    column.lerp_(grad.norm(dim=-2, keepdim=True).square_().div_(grad.size(-2)), weight)
    return (row @ column).div_(row.mean(dim=-2, keepdim=True).clamp_(min=eps))
