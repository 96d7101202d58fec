"""Greedy search."""

from dataclasses import dataclass

import torch
from torch import Tensor

import seqx
from seqx_search.limited import Limited
from seqx_search.single import write


@dataclass(frozen=True, kw_only=True)
class Greedy(Limited):
    """Always writes the most probable next token."""

    @torch.no_grad()
    def __call__(
        self, model: seqx.Model, source: seqx.Tokens, limits: Tensor, grammar: seqx.Grammar | None = None
    ) -> list[list[seqx.Hypothesis]]:
        """One hypothesis for each sentence, if any is allowed; its score is its log-probability."""
        return write(model, source, limits, grammar, lambda logits, _sentences, _step: logits.argmax(1))
