"""Dynamic beam allocation for constrained search (Post and Vilar 2018).

A hypothesis that writes a required phrase early is often less probable than one that puts it off, so it would
be pushed out of the beam. Therefore the beam is divided among banks: the candidates that still have the same
number of required symbols to write. Post and Vilar count the required symbols that were written instead.

Letters in shapes: B sentences, N hypotheses, V symbols, C candidates, K of them chosen.
"""

import torch
from torch import Tensor

import seqx


def best_with_fewest_remaining(
    logits: Tensor, remaining: Tensor, known: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return the best symbols of each hypothesis after which the fewest required symbols remain.

    The result has their logits and ids [N, K]. A logit is -inf where there are fewer than K such symbols, and
    where no symbol makes progress.

    Args:
        logits: [N, V], -inf if a symbol is not allowed
        remaining: required symbols that remain after each symbol [N, V]
        known: symbols that are candidates already, which are left out [N, C]
        count: how many to find for each hypothesis, K
    """
    remaining = remaining.masked_fill(logits == -torch.inf, torch.iinfo(remaining.dtype).max)
    fewest = remaining.amin(1, keepdim=True)
    chosen = logits.masked_fill((remaining != fewest) | (fewest == 0), -torch.inf)
    chosen = chosen.scatter(1, known, -torch.inf)
    chosen[:, : seqx.EOS] = -torch.inf
    value, token = chosen.topk(min(count, logits.size(1)))
    return value, token


def allocate_beam(value: Tensor, remaining: Tensor) -> Tensor:
    """Return the order in which candidates [B, C] enter the beam.

    First comes the best candidate of each bank, then the second best of each bank, and so on. Within a round
    the more probable candidates come first. Candidates of probability 0 come last of all.

    Args:
        value: log-probability of each candidate [B, C]
        remaining: required symbols that remain after each candidate [B, C]
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
    round_ = torch.empty_like(rank_in_bank).scatter(1, by_bank, rank_in_bank)  # in the order of probability
    round_ = round_.masked_fill(impossible.gather(1, order), value.size(1))
    return order.gather(1, round_.argsort(dim=1, stable=True))
