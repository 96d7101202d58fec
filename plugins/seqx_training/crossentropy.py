"""Cross-entropy with label smoothing, computed in chunks.

Letters in shapes: B sentences, T target tokens, D = d_model, V symbols, N target tokens without padding.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx

CHUNK = {"cpu": 512, "cuda": 4096}
"""What fits the caches of a CPU; what keeps a GPU busy."""


class CrossEntropy(seqx.Objective):
    """Cross-entropy with label smoothing (Szegedy et al. 2016; Vaswani et al. 2017, section 5.4).

    The smoothed target gives `smoothing` / V to every symbol, and the rest to the right one too. Logits are
    made and used up chunk by chunk, never [N, V] of them. "loss" is the smoothed sum, "nll" the sum
    without smoothing, of which perplexity is made; both in nats.

    Args:
        smoothing: share of the target's probability that is spread over the vocabulary
        chunk: target tokens whose logits are held at once; null: 512 on a CPU, 4096 on a GPU
    """

    def __init__(
        self, *, smoothing: Annotated[float, Ge(0), Lt(1)] = 0.1, chunk: Annotated[int, Gt(0)] | None = None
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
        # Their number is known here: nobody waits for a device to count them.
        kept = target.layout.keep.flatten().nonzero_static(size=batch.count)[:, 0]  # [N]
        outputs = model(batch.columns["source"], target).flatten(0, 1).index_select(0, kept)  # [N, D]
        targets = target.ids.flatten().index_select(0, kept)
        chunk = self.chunk or CHUNK[outputs.device.type]
        weights = [p for p in model.parameters() if p.requires_grad] if torch.is_grad_enabled() else []
        loss, nll = _Chunks.apply(  # type: ignore[no-untyped-call]
            outputs, targets, model.head, self.smoothing, chunk, *weights
        )
        return {"loss": loss, "nll": nll}


class _Chunks(torch.autograd.Function):
    """Computes the gradient of each chunk as soon as its logits are there, and then forgets the logits."""

    @staticmethod
    def forward(
        ctx: Any,
        outputs: Tensor,
        targets: Tensor,
        head: Callable[[Tensor], Tensor],
        smoothing: float,
        chunk: int,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        learns = any(ctx.needs_input_grad)
        loss = outputs.new_zeros((), dtype=torch.float32)
        nll = loss.clone()
        by_output = torch.zeros_like(outputs) if learns else None
        by_weight: list[Tensor | None] = [None] * len(weights)
        for first in range(0, outputs.size(0), chunk):
            part = slice(first, first + chunk)
            with torch.set_grad_enabled(learns):
                x = outputs[part].detach().requires_grad_(learns)
                logits = head(x)  # [chunk, V]
            logp = F.log_softmax(logits.detach(), -1, dtype=torch.float32)
            right = targets[part, None]
            plain = -logp.gather(-1, right).sum()
            nll += plain
            loss += (1 - smoothing) * plain - smoothing * logp.mean(-1).sum() if smoothing else plain
            if by_output is not None:
                # The gradient by the logits: what the model says less what it should say.
                error = logp.exp_().sub_(smoothing / logits.size(-1))
                error.scatter_add_(-1, right, error.new_full(right.shape, smoothing - 1))
                grad, *grads = torch.autograd.grad(
                    logits, (x, *weights), error.to(logits.dtype), allow_unused=True
                )
                by_output[part] = grad
                by_weight = [  # cloned first: autograd may give two weights one tensor
                    old if new is None else new.clone() if old is None else old.add_(new)
                    for old, new in zip(by_weight, grads, strict=True)
                ]
        ctx.gradients = (by_output, by_weight)
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    def backward(ctx: Any, loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        by_output, by_weight = ctx.gradients
        ctx.gradients = None
        weighted = (None if grad is None else grad.mul_(loss) for grad in by_weight)
        return (by_output * loss, None, None, None, None, *weighted)
