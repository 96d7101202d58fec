"""Cross-entropy, computed in chunks of target tokens so that the logits of all tokens never exist at once.

Letters in shapes: B sentences, T target tokens, D = d_model, V symbols, N target tokens without padding,
n of them in one chunk, P passes through the model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx

CHUNK = {"cpu": 512, "cuda": 4096}
"""The number of rows of logits in a chunk: small enough for the caches of a CPU, large enough for a GPU."""


class TokenLoss(ABC):
    """Sums over log-probabilities, and the gradient of the first sum, which is the training loss."""

    names: tuple[str, ...]
    """The names of the sums."""

    @abstractmethod
    def sums(self, logp: Tensor, part: slice) -> tuple[Tensor, ...]:
        """Return the sums over one chunk of the target tokens.

        Args:
            logp: log-probabilities [n, V] or [n, P, V]
            part: the chunk, as a slice of the N target tokens
        """

    @abstractmethod
    def gradient(self, logp: Tensor, part: slice) -> Tensor:
        """Return the gradient of the first sum with respect to the logits; may overwrite `logp`."""


class SmoothedCrossEntropy(TokenLoss):
    """Cross-entropy with smoothed targets ("loss") and with plain ones ("nll"), for targets [N] or [N, P]."""

    names = ("loss", "nll")

    def __init__(self, targets: Tensor, smoothing: float) -> None:
        self.targets = targets
        self.smoothing = smoothing

    def sums(self, logp: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Return both sums for log-probabilities [n, V] or [n, P, V]."""
        nll = -logp.gather(-1, self.targets[part, ..., None]).sum()
        if not self.smoothing:
            return nll, nll
        return (1 - self.smoothing) * nll - self.smoothing * logp.mean(-1).sum(), nll

    def gradient(self, logp: Tensor, part: slice) -> Tensor:
        """Return the model's probabilities minus the smoothed target distribution; overwrites `logp`."""
        targets = self.targets[part, ..., None]
        gradient = logp.exp_().sub_(self.smoothing / logp.size(-1))
        return gradient.scatter_add_(-1, targets, gradient.new_full(targets.shape, self.smoothing - 1))


class CrossEntropy(seqx.Objective):
    """Cross-entropy with label smoothing (Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4).

    The target distribution gives smoothing / V to every symbol, and another 1 - smoothing to the correct one.
    "loss" is the sum with smoothing; "nll" is the sum without it, from which perplexity is computed. Both are
    in nats. Logits are computed in chunks, so that all [N, V] logits are never in memory at once.

    Args:
        smoothing: probability that is spread evenly over the vocabulary (epsilon in the papers)
        chunk: target tokens in a chunk; null: 512 on a CPU, 4096 on a GPU
    """

    def __init__(
        self, *, smoothing: Annotated[float, Ge(0), Lt(1)] = 0.1, chunk: Annotated[int, Gt(0)] | None = None
    ) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.chunk = chunk

    def counts(self, batch: seqx.Batch) -> Mapping[str, int]:
        """Return the number of target tokens for each sum."""
        return {"loss": batch.count, "nll": batch.count}

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        """Return the sums over the target tokens of the batch."""
        loss = SmoothedCrossEntropy(target_ids(batch), self.smoothing)
        return chunked_loss(model, outputs_before_targets(model, batch), loss, self.chunk)


def target_positions(batch: seqx.Batch) -> Tensor:
    """Return the indices [N] of the target tokens among the B T positions of the batch."""
    # nonzero_static takes their number, which the host knows, and so does not wait for the device.
    return batch.columns["target"].layout.keep.flatten().nonzero_static(size=batch.count)[:, 0]


def target_ids(batch: seqx.Batch) -> Tensor:
    """Return the ids [N] of the target tokens."""
    return batch.columns["target"].values.flatten().index_select(0, target_positions(batch))


def outputs_before_targets(model: seqx.Model, batch: seqx.Batch) -> Tensor:
    """Run the model once; return its outputs [N, D] before each target token."""
    outputs: Tensor = model(batch)
    return outputs.flatten(0, 1).index_select(0, target_positions(batch))


def chunked_loss(
    model: seqx.Model, outputs: Tensor, loss: TokenLoss, rows: int | None
) -> Mapping[str, Tensor]:
    """Return the sums of a loss by name, computing logits chunk by chunk.

    Args:
        model: the model whose head computes the logits
        outputs: the outputs of one pass [N, D] or of P passes [N, P, D]
        loss: the loss to compute
        rows: the number of rows of logits in a chunk; None: the value in CHUNK for the device
    """
    passes = outputs.shape[1:-1].numel()
    chunk = max(1, (rows or CHUNK[outputs.device.type]) // passes)
    weights = [p for p in model.parameters() if p.requires_grad] if torch.is_grad_enabled() else []
    sums = _Chunks.apply(outputs, model.head, loss, chunk, *weights)  # type: ignore[no-untyped-call]
    return dict(zip(loss.names, sums, strict=True))


class _Chunks(torch.autograd.Function):
    """Compute the loss and its gradient chunk by chunk in the forward pass, and store no logits."""

    @staticmethod
    def forward(
        ctx: Any,
        outputs: Tensor,
        head: Callable[[Tensor], Tensor],
        loss: TokenLoss,
        chunk: int,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        needs_grad = any(ctx.needs_input_grad)
        dtype = torch.promote_types(outputs.dtype, torch.float32)
        totals = [outputs.new_zeros((), dtype=dtype) for _ in loss.names]
        output_grad = torch.zeros_like(outputs) if needs_grad else None
        weight_grads: list[Tensor | None] = [None] * len(weights)
        for first in range(0, outputs.size(0), chunk):
            part = slice(first, first + chunk)
            with torch.set_grad_enabled(needs_grad):
                x = outputs[part].detach().requires_grad_(needs_grad)
                logits = head(x)  # [n, V] or [n, P, V]
            logp = F.log_softmax(logits.detach(), -1, dtype=dtype)
            for total, new in zip(totals, loss.sums(logp, part), strict=True):
                total += new  # noqa: PLW2901  in place
            if output_grad is not None:
                logits_grad = loss.gradient(logp, part).to(logits.dtype)
                grad, *grads = torch.autograd.grad(logits, (x, *weights), logits_grad, allow_unused=True)
                output_grad[part] = grad
                weight_grads = [  # clone: autograd may return the same tensor for two weights
                    old if new is None else new.clone() if old is None else old.add_(new)
                    for old, new in zip(weight_grads, grads, strict=True)
                ]
        ctx.gradients = (output_grad, weight_grads)
        ctx.mark_non_differentiable(*totals[1:])
        return tuple(totals)

    @staticmethod
    def backward(ctx: Any, loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        output_grad, weight_grads = ctx.gradients
        ctx.gradients = None
        weighted = (None if grad is None else grad.mul_(loss) for grad in weight_grads)
        return (output_grad * loss, None, None, None, *weighted)
