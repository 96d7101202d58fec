"""Sharing a beam's places out among hypotheses of which differently much is demanded (Post & Vilar 2018).

Letters in shapes: B sentences, N hypotheses, V symbols, C candidates, K of them chosen.
"""

import torch
from torch import Tensor

import seqx


def nearest(choices: Tensor, due: Tensor, known: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best symbols after which the least is due, none of them among `known` [N, C].

    Args:
        choices: logits [N, V], -inf where a symbol is not allowed
        due: how much is due after each symbol [N, V]
        known: symbols that are candidates already
        count: how many to find for each hypothesis
    """
    due = due.masked_fill(choices == -torch.inf, torch.iinfo(due.dtype).max)
    least = due.amin(1, keepdim=True)
    nearer = choices.masked_fill((due != least) | (least == 0), -torch.inf).scatter(1, known, -torch.inf)
    nearer[:, : seqx.EOS] = -torch.inf
    value, token = nearer.topk(min(count, choices.size(1)))
    return value, token


def allocate_beam(value: Tensor, due: Tensor) -> Tensor:
    """The order in which candidates [B, C] get places: the best of each bank, then the second best of each...

    A bank is the candidates of a sentence after which equally much is due; within a round the more probable
    come first, and those of probability 0 come last of all.
    """
    order = value.argsort(dim=1, descending=True, stable=True)
    none = value == -torch.inf
    bank = due.long().masked_fill(none, torch.iinfo(torch.int32).max).gather(1, order)
    by_bank = bank.argsort(dim=1, stable=True)
    sorted_banks = bank.gather(1, by_bank)
    place = torch.arange(value.size(1), device=value.device).expand_as(value)
    first = torch.ones_like(none)
    first[:, 1:] = sorted_banks[:, 1:] != sorted_banks[:, :-1]
    rank = place - place.where(first, 0).cummax(1).values
    round_ = torch.empty_like(rank).scatter(1, by_bank, rank)  # of each, in the order of probability
    round_ = round_.masked_fill(none.gather(1, order), value.size(1))
    return order.gather(1, round_.argsort(dim=1, stable=True))
