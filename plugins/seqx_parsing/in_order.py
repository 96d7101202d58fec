"""The in-order linearisation and its grammar (Liu and Zhang 2017).

Letters in shapes: B sentences, N hypotheses.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import Tensor

import seqx
from seqx_parsing.bracketing import BracketGrammar, Bracketing, BracketState, LegalKinds
from seqx_parsing.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class InOrder(Bracketing):
    """Writes a label after its first child: `XX (NP XX )NP (S XX (VP )VP )S` (Liu and Zhang 2017).

    Args:
        unaries: maximum length of a chain of constituents with a single child that the grammar allows
    """

    first: ClassVar[int] = 1
    adjustable: ClassVar[frozenset[str]] = Bracketing.adjustable | {"unaries"}

    unaries: Annotated[int, Gt(0)] = 4

    def grammar(self, vocabulary: Vocabulary, words: Tensor) -> seqx.Grammar:
        """Return the grammar for sentences of `words` [B] words."""
        return InOrderGrammar(self, vocabulary, words)


class InOrderGrammar(BracketGrammar):
    """Grammar of the in-order linearisation.

    A bracket opens after a finished word or constituent, and every word but the first is inside a bracket. If
    all brackets are closed and words are left, another constituent must open around the finished part. The
    same holds for a sentence of one word. These brackets are reserved in the length budget.
    """

    def __init__(self, linearisation: InOrder, vocabulary: Vocabulary, words: Tensor) -> None:
        super().__init__(linearisation, vocabulary, words)
        self.unaries = linearisation.unaries

    def legal(self, written: BracketState) -> LegalKinds:
        """Return the kinds of symbols that may come next."""
        started, more, inside = written.used > 0, written.left > 0, written.height > 0
        unary = written.unaries < self.unaries
        due = ~inside & (more | (started & ~written.begun))
        spare = (
            written.budget - written.left - written.height
        )  # symbols beyond the remaining words and required closes
        room = (written.height < self.depth) & (spare >= 2)
        last = ~more | (written.height > 1) | (spare >= 2)  # the outermost constituent may close
        return LegalKinds(
            word=more & (inside | ~started),
            open=started & ~written.new & (more | unary) & (due | room),
            close=inside & (~more | ((~written.new | unary) & last)),
            end=~more & ~inside & (written.begun | ~started),
        )
