"""Greedy search."""

from dataclasses import dataclass

import torch
from torch import Tensor

import seqx
from seqx_search.length_limit import LengthLimitedSearch
from seqx_search.one_hypothesis import decode_one_hypothesis


@dataclass(frozen=True, kw_only=True)
class Greedy(LengthLimitedSearch):
    """Always writes the most probable next token."""

    @torch.no_grad()
    def __call__(
        self,
        model: seqx.Model,
        source: seqx.Tokens,
        limits: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
    ) -> list[list[seqx.Hypothesis]]:
        """One hypothesis for each sentence, if any is allowed; its score is its log-probability."""
        return decode_one_hypothesis(
            model, source, limits, grammar, memory, choose=lambda logits, _sentences, _step: logits.argmax(1)
        )
