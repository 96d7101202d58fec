"""Cross-entropy.

Letters in shapes: B sentences, T target tokens, D = d_model, V symbols, N target tokens without padding,
n of them in one chunk, P passes through the model.
"""

from collections.abc import Mapping
from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import Tensor

import seqx


class SmoothedCrossEntropy(seqx.TokenLoss):
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
        chunk: target tokens in a chunk; null: 512 on a CPU; on a GPU as many as fit
            into a 64th of its memory
    """

    reads_packed_rows = True

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
        loss = SmoothedCrossEntropy(seqx.target_ids(batch), self.smoothing)
        return seqx.chunked_loss(model, seqx.outputs_before_targets(model, batch), loss, self.chunk)
