"""Cross-entropy with label smoothing, computed in chunks.

Letters in shapes: B sentences, T target tokens, D = d_model, V symbols, N target tokens without padding.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx


class CrossEntropy(seqx.Objective):
    """Cross-entropy with label smoothing (Szegedy et al. 2016; Vaswani et al. 2017, section 5.4).

    The smoothed target gives `smoothing` / V to every symbol, and the rest to the right one too. Logits are
    made and used up chunk by chunk, never [N, V] of them. "loss" is the smoothed sum, "nll" the sum
    without smoothing, of which perplexity is made; both in nats.

    Args:
        smoothing: share of the target's probability that is spread over the vocabulary
        chunk: target tokens whose logits are held at once
    """

    def __init__(
        self, *, smoothing: Annotated[float, Ge(0), Lt(1)] = 0.1, chunk: Annotated[int, Gt(0)] = 512
    ) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.chunk = chunk

    def counts(self, batch: seqx.Batch) -> Mapping[str, int]:
        """Target tokens."""
        return {"loss": batch.count, "nll": batch.count}

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        """The sums over the target tokens of the batch."""
        target = batch.columns["target"]
        keep = target.layout.keep
        outputs = model(batch.columns["source"], target)[keep]  # [N, D]
        weights = [p for p in model.parameters() if p.requires_grad] if torch.is_grad_enabled() else []
        loss, nll = _Chunks.apply(outputs, target.ids[keep], model.head, self.smoothing, self.chunk, *weights)
        return {"loss": loss, "nll": nll}


def _sums(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Smoothed and plain cross-entropy of logits [N, V], summed: each is a mean of -log p over symbols."""
    logits = logits.float()
    total = logits.logsumexp(-1)
    nll = (total - logits.gather(-1, targets[:, None])[:, 0]).sum()
    spread = (total - logits.mean(-1)).sum() if smoothing else nll
    return (1 - smoothing) * nll + smoothing * spread, nll


class _Chunks(torch.autograd.Function):
    """Computes the gradient of each chunk as soon as its logits are there, and then forgets the logits."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        outputs: Tensor,
        targets: Tensor,
        head: Any,
        smoothing: float,
        chunk: int,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        learns = outputs.requires_grad or bool(weights)
        loss, nll = outputs.new_zeros((), dtype=torch.float32), outputs.new_zeros((), dtype=torch.float32)
        by_output = torch.zeros_like(outputs) if learns else None
        by_weight: list[Tensor | None] = [None] * len(weights)
        for first in range(0, outputs.size(0), chunk):
            part = slice(first, first + chunk)
            with torch.set_grad_enabled(learns):
                x = outputs[part].detach().requires_grad_(learns)
                smoothed, plain = _sums(head(x), targets[part], smoothing)
            loss += smoothed.detach()
            nll += plain.detach()
            if by_output is not None:
                grad, *grads = torch.autograd.grad(smoothed, (x, *weights), allow_unused=True)
                by_output[part] = grad
                by_weight = [
                    new if old is None else old if new is None else old.add_(new)
                    for old, new in zip(by_weight, grads, strict=True)
                ]
        ctx.gradients = (by_output, by_weight)
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    def backward(ctx: Any, loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        by_output, by_weight = ctx.gradients
        ctx.gradients = None
        weighted = (None if grad is None else grad.mul_(loss) for grad in by_weight)
        return (by_output * loss, None, None, None, None, *weighted)
