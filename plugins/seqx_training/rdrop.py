"""R-Drop: two dropout masks must give one answer.

Letters in shapes: D = d_model, V symbols, N target tokens without padding, n of them in one chunk.
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx
from seqx_training.chunked_loss import TokenLoss, chunked_loss, outputs_before_targets, target_ids
from seqx_training.crossentropy import SmoothedCrossEntropy


class RDropLoss(TokenLoss):
    """Cross-entropy of two passes, and how far what they say is from each other."""

    names = ("loss", "nll", "kl")

    def __init__(self, targets: Tensor, smoothing: float, alpha: float) -> None:
        self.smoothed = SmoothedCrossEntropy(targets[:, None].expand(-1, 2), smoothing)
        self.alpha = alpha

    def sums(self, logp: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """The three sums over [n, 2, V]."""
        loss, nll = self.smoothed.sums(logp, part)
        kl = (logp.exp() * (logp - logp.flip(1))).sum() / 2
        return loss / 2 + self.alpha / 2 * kl, nll / 2, kl

    def error(self, logp: Tensor, part: slice) -> Tensor:
        """The gradient by the logits of both passes; overwrites `logp`."""
        # With p = softmax(x) and q = softmax(y):  d KL(p || q) / dx = p (log p - log q - KL(p || q)),
        # d KL(q || p) / dx = p - q, and the same for y with p and q in each other's place.
        p, apart = logp.exp(), logp - logp.flip(1)
        kl = (p * apart).sum(-1, keepdim=True)  # [n, 2, 1]
        by_kl = apart.sub_(kl).add_(1).mul_(p).sub_(p.flip(1))
        return self.smoothed.error(logp, part).div_(2).add_(by_kl, alpha=self.alpha / 4)


class RDrop(seqx.Objective):
    """Cross-entropy of two passes with different dropout, and the divergence between what they say.

    R-Drop (Liang et al. 2021, arXiv:2106.14448). "kl" is the mean of both Kullback-Leibler divergences,
    KL(p || q) and KL(q || p), as in the paper's equation 2; "loss" is half of its equation 4,
    (CE(p) + CE(q)) / 2 + alpha / 2 * kl, so that it is a cross-entropy for each token, as that of other
    objectives; "nll" is the mean of both passes without smoothing. All in nats. The model runs twice, so
    that an update takes twice the time. Logits are made and used up chunk by chunk, those of both passes for
    the same tokens.

    Args:
        alpha: weight of the divergence; the paper translates with 5
        smoothing: share of the target's probability that is spread over the vocabulary
        chunk: rows of logits, two for each target token, that are held at once; null: 512 on a CPU, 4096 on
            a GPU
    """

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
        """Target tokens."""
        return dict.fromkeys(RDropLoss.names, batch.count)

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        """The sums over the target tokens of the batch."""
        both = torch.stack([outputs_before_targets(model, batch) for _ in range(2)], 1)  # [N, 2, D]
        loss = RDropLoss(target_ids(batch), self.smoothing, self.alpha)
        return chunked_loss(model, both, loss, self.chunk)
