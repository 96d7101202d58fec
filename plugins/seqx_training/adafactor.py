"""Adafactor whose steps do not wait for the device."""

from typing import Any

import torch
from torch import Tensor

import seqx


class Adafactor(torch.optim.Adafactor):
    """Torch's Adafactor with its counter and its norms on the device.

    Torch's reads two norms of each parameter on the host, which waits for a GPU each time. As torch's fused
    optimizers, this one leaves a step out by itself where `found_inf` is 1.
    """

    _step_supports_amp_scaling = True
    found_inf: Tensor
    """Set for the time of a step by whoever wants it left out, as `torch.amp.GradScaler` does."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # without a closure
        """Change all parameters that have a gradient."""
        skip = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    going = torch.ones((), device=p.device) if skip is None else 1 - to(skip, p)
                    self._change(p, p.grad, group, going.double())

    def _change(self, p: Tensor, grad: Tensor, group: dict[str, Any], going: Tensor) -> None:
        """As torch's `_single_tensor_adafactor`; where `going` is 0 everything stays as it is, bitwise."""
        state = self.state[p]
        if not state:
            state.update(_nothing_seen(grad))
        state["step"] = to(state["step"], p)  # checkpoints of torch's own have it on the CPU
        state["step"] += going.to(state["step"].dtype)
        left_out = going == 0
        grad = grad.masked_fill(left_out, 0)
        step = state["step"].double()
        share = (step ** group["beta2_decay"]).masked_fill(left_out, 0).to(p.dtype)
        rate = step.rsqrt().clamp_max(group["lr"]) * (p.norm().double() / p.numel() ** 0.5).clamp_min(
            group["eps"][1]
        )
        if group["weight_decay"]:
            p.mul_((1 - going * group["lr"] * group["weight_decay"]).to(p.dtype))
        eps = torch.finfo(p.dtype).eps
        update = _variance(grad, state, share, eps).clamp_(min=eps * eps).rsqrt_().mul_(grad)
        size = update.norm().double() / (update.numel() ** 0.5 * group["d"])
        p.addcmul_(update, (going * rate / size.clamp_min(1)).to(p.dtype), value=-1)


def to(scalar: Tensor, p: Tensor) -> Tensor:
    """A scalar where a parameter lies."""
    return seqx.to_device(scalar, p.device)


def _nothing_seen(grad: Tensor) -> dict[str, Tensor]:
    """The state before the first step, under the names of torch's."""
    step = torch.zeros((), device=grad.device)
    if grad.dim() <= 1:
        return {"step": step, "variance": torch.zeros_like(grad)}
    *outer, rows, columns = grad.shape
    return {
        "step": step,
        "row_var": grad.new_zeros(*outer, rows, 1),
        "col_var": grad.new_zeros(*outer, 1, columns),
    }


def _variance(grad: Tensor, state: dict[str, Tensor], share: Tensor, eps: float) -> Tensor:
    """The estimate of the squared gradient, after `share` of this gradient was taken into the averages."""
    if grad.dim() <= 1:
        return state["variance"].lerp_(grad * grad, share).clone()
    row, column = state["row_var"], state["col_var"]
    row.lerp_(grad.norm(dim=-1, keepdim=True).square_().div_(grad.size(-1)), share)
    column.lerp_(grad.norm(dim=-2, keepdim=True).square_().div_(grad.size(-2)), share)
    return (row @ column).div_(row.mean(dim=-2, keepdim=True).clamp_(min=eps))
