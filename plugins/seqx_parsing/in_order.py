"""The in-order linearisation and its grammar.

Letters in shapes: B sentences, N hypotheses.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import Tensor

import seqx
from seqx_parsing.bracketing import BracketGrammar, Bracketing, Legal, Written
from seqx_parsing.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class InOrder(Bracketing):
    """A constituent's label behind its first child: `XX (NP XX )NP (S XX (VP )VP )S` (Liu and Zhang 2017).

    Args:
        unaries: most constituents with a single child that the grammar lets stand right above each other
    """

    first: ClassVar[int] = 1
    adjustable: ClassVar[frozenset[str]] = Bracketing.adjustable | {"unaries"}

    unaries: Annotated[int, Gt(0)] = 4

    def grammar(self, vocabulary: Vocabulary, words: Tensor) -> seqx.Grammar:
        """For sentences of `words` [B] words."""
        return InOrderGrammar(self, vocabulary, words)


class InOrderGrammar(BracketGrammar):
    """A bracket opens behind something finished, and all words but the first stand in brackets.

    When all is closed and words are left, another constituent must open around what there is: a bracket and
    its close are due, and so they are to a sentence of one word.
    """

    def __init__(self, linearisation: InOrder, vocabulary: Vocabulary, words: Tensor) -> None:
        super().__init__(linearisation, vocabulary, words)
        self.unaries = linearisation.unaries

    def legal(self, written: Written) -> Legal:
        """Which kinds of symbols may come next."""
        started, more, inside = written.used > 0, written.left > 0, written.height > 0
        unary = written.unaries < self.unaries
        due = ~inside & (more | (started & ~written.begun))
        spare = written.budget - written.left - written.height  # for other symbols than words and closes due
        room = (written.height < self.depth) & (spare >= 2)
        last = ~more | (written.height > 1) | (spare >= 2)  # the outermost may close
        return Legal(
            word=more & (inside | ~started),
            open=started & ~written.new & (more | unary) & (due | room),
            close=inside & (~more | ((~written.new | unary) & last)),
            end=~more & ~inside & (written.begun | ~started),
        )
