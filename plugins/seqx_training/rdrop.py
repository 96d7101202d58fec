"""R-Drop: regularised dropout.

Letters in shapes: D = d_model, V symbols, N target tokens without padding, n of them in one chunk.
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx
from seqx_training.cross_entropy import SmoothedCrossEntropy


class RDropLoss(seqx.TokenLoss):
    """The cross-entropy of two passes and the divergence between their distributions."""

    names = ("loss", "nll", "kl")

    def __init__(self, targets: Tensor, smoothing: float, alpha: float) -> None:
        self.smoothed = SmoothedCrossEntropy(targets[:, None].expand(-1, 2), smoothing)
        self.alpha = alpha

    def sums(self, logp: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three sums for log-probabilities [n, 2, V]."""
        loss, nll = self.smoothed.sums(logp, part)
        kl = (logp.exp() * (logp - logp.flip(1))).sum() / 2
        return loss / 2 + self.alpha / 2 * kl, nll / 2, kl

    def gradient(self, logp: Tensor, part: slice) -> Tensor:
        """Return the gradient with respect to the logits of both passes; overwrites `logp`."""
        # With p = softmax(x) and q = softmax(y): d KL(p || q) / dx = p (log p - log q - KL(p || q)) and
        # d KL(q || p) / dx = p - q. For y, p and q are exchanged.
        p, log_ratio = logp.exp(), logp - logp.flip(1)
        kl = (p * log_ratio).sum(-1, keepdim=True)  # [n, 2, 1]
        kl_gradient = log_ratio.sub_(kl).add_(1).mul_(p).sub_(p.flip(1))
        return self.smoothed.gradient(logp, part).div_(2).add_(kl_gradient, alpha=self.alpha / 4)


class RDrop(seqx.Objective):
    """R-Drop: two passes with different dropout must predict the same (Liang et al. 2021, arXiv:2106.14448).

    "kl" is the mean of the divergences KL(p || q) and KL(q || p) of both passes (equation 2). "loss" is
    (CE(p) + CE(q)) / 2 + alpha / 2 kl, half of equation 4, so that it is comparable to the cross-entropy of
    other objectives. "nll" is the mean of both passes without smoothing. All three are sums in nats. Each
    update takes twice the time, because the model runs twice.

    Args:
        alpha: weight of the divergence; the paper uses 5 for translation
        smoothing: probability that is spread evenly over the vocabulary
        chunk: rows of logits in a chunk, two for each target token; null: 512 on a CPU; on a GPU as
            many as fit into a 64th of its memory
    """

    reads_packed_rows = True

    def __init__(
        self,
        *,
        alpha: Annotated[float, Ge(0)] = 5.0,
        smoothing: Annotated[float, Ge(0), Lt(1)] = 0.1,
        chunk: Annotated[int, Gt(0)] | None = None,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.smoothing = smoothing
        self.chunk = chunk

    def counts(self, batch: seqx.Batch) -> Mapping[str, int]:
        """Return the number of target tokens for each sum."""
        return dict.fromkeys(RDropLoss.names, batch.count)

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        """Return the sums over the target tokens of the batch."""
        both = torch.stack([seqx.outputs_before_targets(model, batch) for _ in range(2)], 1)  # [N, 2, D]
        loss = RDropLoss(seqx.target_ids(batch), self.smoothing, self.alpha)
        return seqx.chunked_loss(model, both, loss, self.chunk)
