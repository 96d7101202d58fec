"""Beam search that divides log-probabilities by a power of the length, as many toolkits do."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

import seqx
from seqx_search.beam import Beam, L
from seqx_search.beam_state import Active, Finished


@dataclass(frozen=True, kw_only=True)
class NormalizedBeam(Beam):
    """Beam search that ranks finished hypotheses by logprob / length^alpha, as Marian and transformers do.

    The length counts EOS. The search extends the same hypotheses as `beam`. Recipes that
    `seqx import --from huggingface` writes use this component.

    Args:
        alpha: the power of the length; 0 ranks hypotheses by log-probability, 1 by their mean per token
        stop: when a sentence is done; bound: no unfinished hypothesis can enter the `nbest` any more;
            estimate: `size` hypotheses are finished, and no unfinished one would be better if it ended at its
            current length (`early_stopping: false` of transformers); full: `size` hypotheses are finished
        forced_eos: EOS at the maximum length has probability 1 (`forced_eos_token_id` of transformers)
    """

    alpha: Annotated[float, Ge(0), Le(10)] = 1.0
    stop: Literal["bound", "estimate", "full"] = "estimate"
    forced_eos: bool = False

    def penalty(self, length: L) -> L:
        """Return the divisor of the log-probability of a hypothesis of `length` tokens, EOS included."""
        return length**self.alpha

    def specification(self) -> seqx.SearchSpec:
        """Return a description of the search for exporters."""
        changes_scores = bool(self.processors) or self.forced_eos
        return replace(
            super().specification(), penalty="length", stop=self.stop, changes_scores=changes_scores
        )

    def _end(self, logprob: Tensor) -> Tensor:
        return torch.zeros_like(logprob) if self.forced_eos else logprob

    @property
    def _kept(self) -> int:
        return self.nbest if self.stop == "bound" else self.size

    def _done(self, finished: Finished, active: Active, last_penalty: Tensor, step: int) -> Tensor:
        if self.stop == "bound":
            return super()._done(finished, active, last_penalty, step)
        best = active.score.amax(1)
        if self.stop == "full":
            return (finished.score[:, -1] > -torch.inf) | (best == -torch.inf)
        return finished.score[:, -1] >= best / self.penalty(step + 1)
