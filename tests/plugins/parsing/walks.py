"""Random outputs that a grammar allows.

Letters in shapes: N hypotheses, V symbols, T symbols written.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import seqx


def walk(grammar: seqx.Grammar, limits: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """At each step what is allowed [N, V] and which of it was taken [N]; EOS is taken at the limit.

    Each row has likings of its own for some symbols, so that some are deep and others flat.
    """
    generator = torch.Generator().manual_seed(seed)
    state: Any = grammar.start(len(limits), limits)
    likings: Tensor | None = None
    for step in range(int(limits.max()) + 1):
        allowed = grammar.allowed(state)
        if likings is None:
            likings = 3 * torch.randn(allowed.shape, generator=generator)
        chance = torch.empty_like(likings).exponential_(generator=generator).log().neg()  # Gumbel's
        token = (likings + chance).masked_fill(~allowed, -torch.inf).argmax(1)
        token = token.where(limits > step, seqx.EOS)
        yield allowed, token
        state = grammar.advance(state, token)


def outputs(grammar: seqx.Grammar, limits: Tensor, seed: int) -> list[list[int]]:
    """What each row has written when it ends."""
    rows = torch.stack([token for _, token in walk(grammar, limits, seed)], 1).tolist()
    return [row[: row.index(seqx.EOS)] for row in rows]
