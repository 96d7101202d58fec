"""Cross-entropy with label smoothing, computed in chunks.

Letters in shapes: V symbols, N target tokens without padding, n of them in one chunk, P passes.
"""

from collections.abc import Mapping
from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx
from seqx_training.chunked_loss import TokenLoss, chunked_loss, outputs_before_targets, target_ids


class SmoothedCrossEntropy(TokenLoss):
    """The cross-entropy of smoothed targets [N] or [N, P], and that of plain ones."""

    names = ("loss", "nll")

    def __init__(self, targets: Tensor, smoothing: float) -> None:
        self.targets = targets
        self.smoothing = smoothing

    def sums(self, logp: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Both sums over [n, V] or [n, P, V]."""
        nll = -logp.gather(-1, self.targets[part, ..., None]).sum()
        if not self.smoothing:
            return nll, nll
        return (1 - self.smoothing) * nll - self.smoothing * logp.mean(-1).sum(), nll

    def error(self, logp: Tensor, part: slice) -> Tensor:
        """What the model says less what it should say; overwrites `logp`."""
        right = self.targets[part, ..., None]
        error = logp.exp_().sub_(self.smoothing / logp.size(-1))
        return error.scatter_add_(-1, right, error.new_full(right.shape, self.smoothing - 1))


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
        loss = SmoothedCrossEntropy(target_ids(batch), self.smoothing)
        return chunked_loss(model, outputs_before_targets(model, batch), loss, self.chunk)
