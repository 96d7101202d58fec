"""The intersection of several grammars.

Letters in shapes: N hypotheses, V symbols.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from seqx.interfaces.learning import Grammar
from seqx.interfaces.values import State


class Intersection(Grammar):
    """Allows the symbols that all its grammars allow.

    Each grammar keeps a path to its own end open, but there may be no path that all of them allow. Then
    nothing is allowed, and the search drops the hypothesis. This can show late, so a beam may find no answer
    although there is one. The answers that it finds are allowed by all grammars.
    """

    def __init__(self, *grammars: Grammar) -> None:
        self.grammars = grammars

    def prepare(self, max_lengths: Sequence[int]) -> None:
        """Prepare each grammar."""
        for grammar in self.grammars:
            grammar.prepare(max_lengths)

    def start(self, rows: int, max_lengths: Tensor) -> State:
        """Return the first states of all grammars."""
        return tuple(grammar.start(rows, max_lengths) for grammar in self.grammars)

    def allowed(self, state: State) -> Tensor:
        """Return true for each symbol that all grammars allow: [N, V] bool."""
        parts = (grammar.allowed(part) for grammar, part in zip(self.grammars, state, strict=True))
        return reduce(torch.logical_and, parts)

    def advance(self, state: State, tokens: Tensor) -> State:
        """Return the states after one more token of each hypothesis, [N] int64."""
        return tuple(
            grammar.advance(part, tokens) for grammar, part in zip(self.grammars, state, strict=True)
        )

    def remaining(self, state: State) -> Tensor | None:
        """Return the sum of what each grammar still requires, [N, V]; None if none requires anything."""
        parts = (grammar.remaining(part) for grammar, part in zip(self.grammars, state, strict=True))
        required = [part for part in parts if part is not None]
        return reduce(torch.add, required) if required else None
