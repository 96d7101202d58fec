"""Greedy search."""

from dataclasses import dataclass

from torch import Tensor

import seqx
from seqx_search.beam import LengthLimitedSearch
from seqx_search.one_hypothesis import decode_one_hypothesis


@dataclass(frozen=True, kw_only=True)
class Greedy(LengthLimitedSearch):
    """Greedy search: it chooses the most probable token at every step."""

    def specification(self) -> seqx.SearchSpec:
        """Return a description of the search for exporters."""
        return seqx.SearchSpec(
            size=1,
            alpha=0.0,
            nbest=1,
            ratio=self.ratio,
            extra=self.extra,
            changes_scores=bool(self.processors),
        )

    def __call__(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        max_lengths: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
        trace: seqx.SearchTrace | None = None,
    ) -> list[list[seqx.Hypothesis]]:
        """Return one hypothesis for each sentence, or none if grammar and processors allow none.

        Raises:
            NotFiniteError: the logits are not finite
        """
        return decode_one_hypothesis(
            model,
            source,
            max_lengths,
            grammar,
            memory,
            trace=trace,
            processors=self.processors,
            choose=lambda scores, _sentences, _step: scores.argmax(1),
        )
