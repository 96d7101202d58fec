"""Sampling from the distribution of a model, with temperature, top-k and top-p."""

import hashlib
import random
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

import seqx
from seqx_search.beam import LengthLimitedSearch
from seqx_search.one_hypothesis import decode_one_hypothesis

ONE = 2**52
"""The integer that stands for the probability 1."""


@dataclass(frozen=True, kw_only=True)
class Sampling(LengthLimitedSearch):
    """Sampling: it draws each token from the distribution of the model, or from the most probable tokens.

    The sample for a sentence depends on the seed and the sentence, not on the batch. Scores are
    log-probabilities under the unmodified distribution, for any temperature, `top_k` and `top_p`.

    Args:
        temperature: the divisor of the logits; values below 1 make probable tokens more probable
        top_k: draw from the `top_k` most probable tokens (Fan et al. 2018); null: from all
        top_p: draw from the smallest set of most probable tokens whose probabilities sum to at least `top_p`
            (nucleus sampling, Holtzman et al. 2020)
        seed: the seed of the random numbers
    """

    temperature: Annotated[float, Ge(1e-6)] = 1.0
    top_k: Annotated[int, Gt(0)] | None = None
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    seed: int = 0

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

        The score is the log-probability.

        Raises:
            NotFiniteError: the logits are not finite
        """
        draws = self._draws(source, int(max_lengths.max()) + 1)  # [B, T]

        def choose(scores: Tensor, sentences: Tensor, step: int) -> Tensor:
            return _sample(self._probabilities(scores), draws[sentences, step])

        return decode_one_hypothesis(
            model,
            source,
            max_lengths,
            grammar,
            memory,
            choose=choose,
            trace=trace,
            processors=self.processors,
        )

    def _draws(self, source: seqx.Column, steps: int) -> Tensor:
        """Return a random number in [0, 1) for each sentence and step, [B, T].

        A sentence gets the same first numbers for any number of steps.
        """
        draws = []
        for sentence in _sentences(source):
            key = repr((self.seed, sentence)).encode()
            rng = random.Random(hashlib.blake2b(key, digest_size=8).digest())  # noqa: S311  # no secret
            draws.append([rng.getrandbits(32) / 2**32 for _ in range(steps)])
        return seqx.to_device(torch.tensor(draws, dtype=torch.float64), source.values.device)

    def _probabilities(self, scores: Tensor) -> Tensor:
        """Return the probability of drawing each symbol, [N, V]."""
        scores = scores.double() / self.temperature
        if self.top_k is not None:
            threshold = scores.topk(min(self.top_k, scores.size(1))).values[:, -1:]
            scores = scores.masked_fill(scores < threshold, -torch.inf)
        probabilities = scores.softmax(1)
        if self.top_p < 1:
            ranked = probabilities.sort(1, descending=True).values
            # Keep a token if the more probable tokens together do not reach top_p.
            parts = _parts(ranked)
            is_kept = parts.cumsum(1) - parts < max(1, int(self.top_p * ONE))
            threshold = ranked.where(is_kept, torch.inf).amin(1, keepdim=True)
            probabilities = probabilities.where(probabilities >= threshold, 0)
        return probabilities


def _sentences(source: seqx.Column) -> list[list[Any]]:
    """Return the tokens of each sentence: ids, or vectors."""
    values, keep = source.values, source.layout.keep
    if values.is_floating_point():
        return [row[:length] for row, length in zip(values.tolist(), keep.sum(1).tolist(), strict=True)]
    # Mark padding with -1, so that one copy from the device is enough. Each copy waits for the device.
    return [[token for token in ids if token >= 0] for ids in values.where(keep, -1).tolist()]


def _sample(probabilities: Tensor, draws: Tensor) -> Tensor:
    """Return the symbols [N] that random numbers `draws` [N] in [0, 1) select (inverse transform sampling).

    The selected symbol is the first one whose cumulative probability exceeds the draw times the total.
    """
    cumulative = _parts(probabilities).cumsum(1)
    drawn = (draws[:, None] * cumulative[:, -1:]).long()
    index = torch.searchsorted(cumulative, drawn, right=True)[:, 0]
    return index.clamp_max(probabilities.size(1) - 1)  # probabilities that are not finite have no order


def _parts(probabilities: Tensor) -> Tensor:
    """Return probabilities as integers, in units of 1 / ONE.

    Their sums are exact in any order. CUDA adds up floating-point numbers in an order that varies, and
    refuses to do so while only deterministic kernels are allowed.
    """
    return (probabilities * ONE).long()
