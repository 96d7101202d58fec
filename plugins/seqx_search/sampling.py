"""Sampling from the model."""

import hashlib
import random
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

import seqx
from seqx_search.length_limit import LengthLimitedSearch
from seqx_search.one_hypothesis import decode_one_hypothesis


@dataclass(frozen=True, kw_only=True)
class Sampling(LengthLimitedSearch):
    """Draws each token from the model's distribution, or from its most probable part.

    What is drawn for a sentence depends on the seed and the sentence alone, not on its batch. Scores are the
    model's own log-probabilities, whatever part of the distribution was drawn from.

    Args:
        temperature: logits are divided by it: below 1 probable tokens become more probable still
        top_k: draw from that many most probable tokens; null: from all (Fan et al. 2018)
        top_p: draw from the fewest most probable tokens that have this share (Holtzman et al. 2020)
        seed: another seed gives other samples
    """

    temperature: Annotated[float, Ge(1e-6)] = 1.0
    top_k: Annotated[int, Gt(0)] | None = None
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    seed: int = 0

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
        draws = self._draws(source, int(limits.max()) + 1)  # [B, T]

        def choose(logits: Tensor, sentences: Tensor, step: int) -> Tensor:
            return _invert(self._probabilities(logits), draws[sentences, step])

        return decode_one_hypothesis(model, source, limits, grammar, memory, choose=choose)

    def _draws(self, source: seqx.Tokens, steps: int) -> Tensor:
        """A number in [0, 1) for each sentence and step; a longer row begins as a shorter one does."""
        drawn = []
        for ids in source.ids.where(
            source.layout.keep, -1
        ).tolist():  # the host waits once, for ids and lengths
            sentence = [token for token in ids if token >= 0]
            name = repr((self.seed, sentence)).encode()
            rng = random.Random(hashlib.blake2b(name, digest_size=8).digest())  # noqa: S311  # no secret
            drawn.append([rng.getrandbits(32) / 2**32 for _ in range(steps)])
        return seqx.to_device(torch.tensor(drawn, dtype=torch.float64), source.ids.device)

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Of each symbol [N, V]: 0 outside of the part that is drawn from."""
        logits = logits.double() / self.temperature
        if self.top_k is not None:
            least = logits.topk(min(self.top_k, logits.size(1))).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        probabilities = logits.softmax(1)
        if self.top_p < 1:
            ranked = probabilities.sort(1, descending=True).values
            needed = ranked.cumsum(1) - ranked < self.top_p  # those before it do not reach the share
            least = ranked.where(needed, torch.inf).amin(1, keepdim=True)
            probabilities = probabilities.where(probabilities >= least, 0)
        return probabilities


def _invert(probabilities: Tensor, draws: Tensor) -> Tensor:
    """The symbols [N] at which the cumulated probabilities [N, V] pass draws [N], shares of their sum."""
    cumulated = probabilities.cumsum(1)
    return torch.searchsorted(cumulated, draws[:, None] * cumulated[:, -1:], right=True)[:, 0]
