"""Dynamic beam allocation for constrained search (Post and Vilar 2018).

A hypothesis that writes a required phrase early is often less probable than one that postpones the phrase, so
it would leave the beam. Therefore the beam is divided among banks. A bank is a set of candidates for which
the same number of required symbols remain. (Post and Vilar count the required symbols already written.)

Letters in shapes: B sentences, N hypotheses, V symbols, C candidates, K selected candidates.
"""

import torch
from torch import Tensor

import seqx


def best_with_fewest_remaining(
    logprobs: Tensor, remaining: Tensor, known: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return the most probable symbols of each hypothesis after which the fewest required symbols remain.

    The result is their log-probabilities and ids [N, K]. A log-probability is -inf if there are fewer than K
    such symbols, or if no required symbol remains.

    Args:
        logprobs: the log-probabilities [N, V], -inf if a symbol is not allowed
        remaining: the number of required symbols that remain after each symbol [N, V]
        known: symbols that are candidates already, to be left out [N, C]
        count: the number of symbols for each hypothesis, K
    """
    remaining = remaining.masked_fill(logprobs == -torch.inf, torch.iinfo(remaining.dtype).max)
    fewest = remaining.amin(1, keepdim=True)
    eligible = logprobs.masked_fill((remaining != fewest) | (fewest == 0), -torch.inf)
    eligible = eligible.scatter(1, known, -torch.inf)
    eligible[:, : seqx.EOS] = -torch.inf
    value, token = eligible.topk(min(count, logprobs.size(1)))
    return value, token


def allocate_beam(value: Tensor, remaining: Tensor) -> Tensor:
    """Return the indices of the candidates [B, C] in the order in which they enter the beam.

    Round 1 has the best candidate of each bank, round 2 the second best of each bank, and so on. Within a
    round, more probable candidates come first. Candidates of probability 0 come last.

    Args:
        value: the log-probability of each candidate [B, C]
        remaining: the number of required symbols that remain after each candidate [B, C]
    """
    order = value.argsort(dim=1, descending=True, stable=True)
    impossible = value == -torch.inf
    bank = remaining.long().masked_fill(impossible, torch.iinfo(torch.int32).max).gather(1, order)
    by_bank = bank.argsort(dim=1, stable=True)
    sorted_banks = bank.gather(1, by_bank)
    index = torch.arange(value.size(1), device=value.device).expand_as(value)
    bank_begins = torch.ones_like(impossible)
    bank_begins[:, 1:] = sorted_banks[:, 1:] != sorted_banks[:, :-1]
    rank_in_bank = index - index.where(bank_begins, 0).cummax(1).values
    rounds = torch.empty_like(rank_in_bank).scatter(1, by_bank, rank_in_bank)  # sorted by probability
    rounds = rounds.masked_fill(impossible.gather(1, order), value.size(1))
    return order.gather(1, rounds.argsort(dim=1, stable=True))
