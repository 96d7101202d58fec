"""The hypotheses of a beam, as tensors.

Letters in shapes: B sentences, K hypotheses of each sentence, C candidates, T tokens.
"""

from typing import NamedTuple

from torch import Tensor


class Active(NamedTuple):
    """The unfinished hypotheses of each sentence, best first."""

    score: Tensor  # [B, K] sum of the scores of its symbols, -inf without a hypothesis
    logprob: Tensor  # [B, K] the same without processors
    ids: Tensor  # [B, K, T], padded with EOS


class Finished(NamedTuple):
    """The best finished hypotheses of each sentence, best first."""

    score: Tensor  # [B, nbest], -inf without a hypothesis
    logprob: Tensor  # [B, nbest]
    ids: Tensor  # [B, nbest, T], padded with EOS


class Continuations(NamedTuple):
    """The best continuations of each sentence's hypotheses, in the order in which they enter the beam."""

    score: Tensor  # [B, C] sum of the scores of its symbols
    logprob: Tensor  # [B, C] the same without processors
    parent: Tensor  # [B, C] the number of the hypothesis within its sentence
    token: Tensor  # [B, C]
