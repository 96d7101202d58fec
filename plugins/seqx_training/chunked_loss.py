"""Sums over target tokens, and their gradient, without the logits of all tokens at once.

Letters in shapes: B sentences, T target tokens, D = d_model, V symbols, N target tokens without padding,
n of them in one chunk, P passes through the model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import seqx

CHUNK = {"cpu": 512, "cuda": 4096}
"""Rows of logits that fit the caches of a CPU; that keep a GPU busy."""


class TokenLoss(ABC):
    """What is made of log-probabilities: sums, of which the first is learnt from, and its gradient."""

    names: tuple[str, ...]
    """Of the sums."""

    @abstractmethod
    def sums(self, logp: Tensor, part: slice) -> tuple[Tensor, ...]:
        """Scalars from the log-probabilities [n, V] or [n, P, V] of `part` of the target tokens."""

    @abstractmethod
    def error(self, logp: Tensor, part: slice) -> Tensor:
        """The gradient of the first sum by the logits, as `logp`, which it may overwrite."""


def target_positions(batch: seqx.Batch) -> Tensor:
    """Where the target tokens [N] stand among all places of the batch, B times T."""
    # Their number is known here: nobody waits for a device to count them.
    return batch.columns["target"].layout.keep.flatten().nonzero_static(size=batch.count)[:, 0]


def target_ids(batch: seqx.Batch) -> Tensor:
    """The target tokens [N]."""
    return batch.columns["target"].ids.flatten().index_select(0, target_positions(batch))


def outputs_before_targets(model: seqx.Model, batch: seqx.Batch) -> Tensor:
    """What one pass through the model gives before each target token: [N, D]."""
    found: Tensor = model(batch.columns["source"], batch.columns["target"])
    return found.flatten(0, 1).index_select(0, target_positions(batch))


def chunked_loss(
    model: seqx.Model, outputs: Tensor, loss: TokenLoss, rows: int | None
) -> Mapping[str, Tensor]:
    """The sums of a measure of [N, D] or [N, P, D], whose logits are made and used up chunk by chunk.

    Args:
        model: whose head makes the logits
        outputs: of one pass or several
        loss: what is made of them
        rows: of logits that are held at once; None: what suits the device
    """
    passes = outputs.shape[1:-1].numel()
    chunk = max(1, (rows or CHUNK[outputs.device.type]) // passes)
    weights = [p for p in model.parameters() if p.requires_grad] if torch.is_grad_enabled() else []
    sums = _Chunks.apply(outputs, model.head, loss, chunk, *weights)  # type: ignore[no-untyped-call]
    return dict(zip(loss.names, sums, strict=True))


class _Chunks(torch.autograd.Function):
    """Computes the gradient of each chunk as soon as its logits are there, and then forgets the logits."""

    @staticmethod
    def forward(
        ctx: Any,
        outputs: Tensor,
        head: Callable[[Tensor], Tensor],
        loss: TokenLoss,
        chunk: int,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        learns = any(ctx.needs_input_grad)
        kind = torch.promote_types(outputs.dtype, torch.float32)
        totals = [outputs.new_zeros((), dtype=kind) for _ in loss.names]
        by_output = torch.zeros_like(outputs) if learns else None
        by_weight: list[Tensor | None] = [None] * len(weights)
        for first in range(0, outputs.size(0), chunk):
            part = slice(first, first + chunk)
            with torch.set_grad_enabled(learns):
                x = outputs[part].detach().requires_grad_(learns)
                logits = head(x)  # [n, V] or [n, P, V]
            logp = F.log_softmax(logits.detach(), -1, dtype=kind)
            for total, new in zip(totals, loss.sums(logp, part), strict=True):
                total += new  # noqa: PLW2901  in place
            if by_output is not None:
                error = loss.error(logp, part).to(logits.dtype)
                grad, *grads = torch.autograd.grad(logits, (x, *weights), error, allow_unused=True)
                by_output[part] = grad
                by_weight = [  # cloned first: autograd may give two weights one tensor
                    old if new is None else new.clone() if old is None else old.add_(new)
                    for old, new in zip(by_weight, grads, strict=True)
                ]
        ctx.gradients = (by_output, by_weight)
        ctx.mark_non_differentiable(*totals[1:])
        return tuple(totals)

    @staticmethod
    def backward(ctx: Any, loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        by_output, by_weight = ctx.gradients
        ctx.gradients = None
        weighted = (None if grad is None else grad.mul_(loss) for grad in by_weight)
        return (by_output * loss, None, None, None, *weighted)
