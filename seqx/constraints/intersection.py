"""Several grammars as one.

Letters in shapes: N hypotheses, V symbols.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from seqx.interfaces.learning import Grammar
from seqx.interfaces.values import State


class Intersection(Grammar):
    """Allows what each of its grammars allows.

    Each of them keeps a way to its own end open, but there may be none that is a way for all of them: then
    nothing is allowed, and the search gives the hypothesis up. That may show late: what a beam finds is
    allowed by all, but it may find nothing where there is something.
    """

    def __init__(self, *grammars: Grammar) -> None:
        self.grammars = grammars

    def prepare(self, limits: Sequence[int]) -> None:
        """Prepare each grammar."""
        for grammar in self.grammars:
            grammar.prepare(limits)

    def start(self, rows: int, limits: Tensor) -> State:
        """The states of each grammar."""
        return tuple(grammar.start(rows, limits) for grammar in self.grammars)

    def allowed(self, state: State) -> Tensor:
        """True where each grammar allows a symbol: [N, V] bool."""
        parts = (grammar.allowed(part) for grammar, part in zip(self.grammars, state, strict=True))
        return reduce(torch.logical_and, parts)

    def advance(self, state: State, tokens: Tensor) -> State:
        """After one more token of each hypothesis, [N] int64."""
        return tuple(
            grammar.advance(part, tokens) for grammar, part in zip(self.grammars, state, strict=True)
        )

    def remaining(self, state: State) -> Tensor | None:
        """The sums of what each grammar still demands."""
        parts = (grammar.remaining(part) for grammar, part in zip(self.grammars, state, strict=True))
        told = [part for part in parts if part is not None]
        return reduce(torch.add, told) if told else None
