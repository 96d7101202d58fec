"""The intersection of several grammars.

Letters in shapes: N hypotheses, V symbols.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from seqx.interfaces.learning import Grammar
from seqx.interfaces.tensors import State


class Intersection(Grammar):
    """A grammar that allows a symbol if all of its grammars allow it.

    Each grammar ensures that an answer can still be completed, but perhaps only in a way that another grammar
    forbids. Then no symbol is allowed, and the search drops the hypothesis. Because such a conflict may
    appear late, a beam search may find no answer although one exists. Every answer that it finds satisfies
    all grammars.

    Args:
        grammars: the grammars
    """

    def __init__(self, *grammars: Grammar) -> None:
        self.grammars = grammars

    def prepare(self, max_lengths: Sequence[int]) -> None:
        """Prepare each grammar."""
        for grammar in self.grammars:
            grammar.prepare(max_lengths)

    def start(self, rows: int, max_lengths: Tensor) -> State:
        """Return the states of all grammars before the first symbol."""
        return tuple(grammar.start(rows, max_lengths) for grammar in self.grammars)

    def allowed(self, state: State) -> Tensor:
        """Return true for each symbol that all grammars allow: [N, V] bool."""
        masks = (grammar.allowed(own) for grammar, own in zip(self.grammars, state, strict=True))
        return reduce(torch.logical_and, masks)

    def advance(self, state: State, tokens: Tensor) -> State:
        """Return the states after one more token of each hypothesis, [N] int64."""
        return tuple(grammar.advance(own, tokens) for grammar, own in zip(self.grammars, state, strict=True))

    def remaining(self, state: State) -> Tensor | None:
        """Return the number of symbols that all grammars together still require, [N, V]; None if unknown."""
        counts = (grammar.remaining(own) for grammar, own in zip(self.grammars, state, strict=True))
        required = [count for count in counts if count is not None]
        return reduce(torch.add, required) if required else None
