"""Losses over target tokens, computed in chunks so that the logits of all tokens never exist at once.

Letters in shapes: B sentences, T target tokens, D = d_model, V symbols, N target tokens without padding,
n of them in one chunk, P passes through the model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqx.interfaces.networks import Model
from seqx.interfaces.tensors import Batch

CPU_ROWS = 512
"""The number of rows of logits in a chunk on a CPU. More rows were not measurably faster."""

GPU_SHARE = 1 / 64
"""The share of a GPU's memory that the log-probabilities of a chunk may take, in float32.

A chunk needs twice as much in all. Each chunk launches the kernels of the loss again, and adds a gradient of
the size of the output projection.
"""


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


def _target_positions(batch: Batch) -> Tensor:
    """Return the indices [N] of the target tokens among the B T positions of the batch."""
    # nonzero_static takes their number, which the host knows, and so does not wait for the device.
    return batch.columns["target"].layout.keep.flatten().nonzero_static(size=batch.count)[:, 0]


def target_ids(batch: Batch) -> Tensor:
    """Return the ids [N] of the target tokens."""
    return batch.columns["target"].values.flatten().index_select(0, _target_positions(batch))


def outputs_before_targets(model: Model, batch: Batch) -> Tensor:
    """Run the model once; return the outputs [N, D] from which it predicts the target tokens."""
    outputs: Tensor = model(batch)
    return outputs.flatten(0, 1).index_select(0, _target_positions(batch))


def chunked_loss(
    model: Model, outputs: Tensor, loss: TokenLoss, rows: int | None = None
) -> Mapping[str, Tensor]:
    """Return the sums of a loss by name, computing logits chunk by chunk.

    The logits of all target tokens [N, V] are never in memory at once.

    Args:
        model: the model whose head computes the logits
        outputs: the outputs of one pass [N, D] or of P passes [N, P, D]
        loss: the loss to compute
        rows: the number of rows of logits in a chunk; None: 512 on a CPU; on a GPU as many as fit into a 64th
            of its memory
    """
    passes = outputs.shape[1:-1].numel()
    chunk = max(1, (rows or default_rows(outputs.device, model.vocab_sizes["target"])) // passes)
    weights = [p for p in model.parameters() if p.requires_grad] if torch.is_grad_enabled() else []
    sums = _Chunks.apply(outputs, model.head, loss, chunk, *weights)  # type: ignore[no-untyped-call]
    return dict(zip(loss.names, sums, strict=True))


def default_rows(device: torch.device, symbols: int) -> int:
    """Return the number of rows of logits in a chunk."""
    if device.type == "cpu":
        return CPU_ROWS
    memory = torch.cuda.get_device_properties(device).total_memory
    return int(memory * GPU_SHARE) // (4 * symbols)


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
