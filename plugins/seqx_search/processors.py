"""Score processors: minimum length, no repeated n-grams, repetition penalty.

Letters in shapes: N hypotheses, T symbols of each so far, V symbols of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt
from pydantic import AllowInfNan
from torch import Tensor

import seqx


@dataclass(frozen=True, kw_only=True)
class MinLength(seqx.ScoreProcessor):
    """No EOS before an output has a minimum number of tokens, EOS excluded.

    Args:
        length: minimum number of tokens
    """

    length: Annotated[int, Gt(0)]

    def __call__(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return the scores, -inf for EOS if fewer than `length` symbols were written."""
        if ids.size(1) >= self.length:
            return scores
        symbols = torch.arange(scores.size(1), device=scores.device)
        return scores.masked_fill(symbols == seqx.EOS, -torch.inf)


@dataclass(frozen=True, kw_only=True)
class NoRepeatNgram(seqx.ScoreProcessor):
    """No symbol that would repeat an n-gram of the output (Paulus et al. 2018, section 2.5).

    Args:
        size: number of tokens of an n-gram, n
    """

    size: Annotated[int, Gt(0)]

    def __call__(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return the scores, -inf for each symbol that would complete an n-gram of the output again."""
        if ids.size(1) < self.size:
            return scores
        ngrams = ids.unfold(1, self.size, 1)  # [N, T - n + 1, n]
        last = ids[:, ids.size(1) - self.size + 1 :]  # [N, n - 1]
        repeats = (ngrams[..., :-1] == last[:, None]).all(-1)
        # PAD is never written, so it takes the place of symbols that remain allowed.
        forbidden = ngrams[..., -1].where(repeats, seqx.PAD)
        return scores.scatter(1, forbidden, -torch.inf)


@dataclass(frozen=True, kw_only=True)
class RepetitionPenalty(seqx.ScoreProcessor):
    """A factor for the log-probabilities of the symbols that the output already has (Keskar et al. 2019).

    The paper divides logits by the penalty, which makes symbols with negative logits more probable.

    Args:
        penalty: factor; above 1 repetitions become less probable
    """

    penalty: Annotated[float, Gt(0), AllowInfNan(allow_inf_nan=False)] = 1.2

    def __call__(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return the scores, multiplied by the penalty for the symbols in `ids`."""
        return scores.scatter(1, ids, scores.gather(1, ids) * self.penalty)


def process(processors: Sequence[seqx.ScoreProcessor], scores: Tensor, ids: Tensor) -> Tensor:
    """Return the log-probabilities [N, V] changed by processors, and -inf for PAD and BOS.

    Args:
        processors: the processors, in the order in which they are applied
        scores: the log-probabilities of the next symbols [N, V]
        ids: the symbols that were written so far [N, T]
    """
    never_written = torch.arange(scores.size(1), device=scores.device) < seqx.EOS
    scores = scores.masked_fill(never_written, -torch.inf)
    for processor in processors:
        scores = processor(scores, ids)
    return scores
