"""The in-order linearisation and its grammar (Liu and Zhang 2017).

Letters in shapes: B sentences, N hypotheses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import Tensor

import seqx
from seqx_parsing.bracket_grammar import BracketGrammar, BracketState, LegalKinds
from seqx_parsing.bracketing import Bracketing
from seqx_parsing.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class InOrder(Bracketing):
    """Writes a label after its first child: `XX (NP XX )NP (S XX (VP )VP )S` (Liu and Zhang 2017).

    Args:
        unaries: maximum length of a chain of constituents with a single child that the grammar allows
    """

    children_before_bracket: ClassVar[int] = 1
    adjustable: ClassVar[frozenset[str]] = Bracketing.adjustable | {"unaries"}

    unaries: Annotated[int, Gt(0)] = 4

    def grammar(self, vocabulary: Vocabulary, words: Tensor) -> seqx.Grammar:
        """Return the grammar for sentences of `words` [B] words."""
        return InOrderGrammar(self, vocabulary, words)


class InOrderGrammar(BracketGrammar):
    """Grammar of the in-order linearisation.

    A bracket opens after a word or a finished constituent. Every word except the first is inside a bracket.
    If all brackets are closed and words remain, another constituent must open around the finished part. A
    single word also needs a constituent around it. The length budget reserves these brackets.
    """

    def __init__(self, linearisation: InOrder, vocabulary: Vocabulary, words: Tensor) -> None:
        super().__init__(linearisation, vocabulary, words)
        self.unaries = linearisation.unaries

    def legal(self, state: BracketState) -> LegalKinds:
        """Return the kinds of symbols that may come next."""
        started, words_remain, inside = state.words_written > 0, state.words_left > 0, state.height > 0
        unary = state.unaries < self.unaries  # another unary constituent is allowed
        must_open = ~inside & (words_remain | (started & ~state.has_brackets))
        may_nest = (state.height < self.depth) & (state.spare >= 2)
        # While words remain, the outermost constituent may close only if another one around it still fits.
        may_close = ~words_remain | (state.height > 1) | (state.spare >= 2)
        return LegalKinds(
            word=words_remain & (inside | ~started),
            open=started & ~state.just_opened & (words_remain | unary) & (must_open | may_nest),
            close=inside & (~words_remain | ((~state.just_opened | unary) & may_close)),
            end=~words_remain & ~inside & (state.has_brackets | ~started),
        )

    def thresholds(self) -> Mapping[str, Sequence[int]]:
        """Return the numbers with which `legal` compares each count."""
        return {
            "words_written": [1],
            "words_left": [1],
            "spare": [2],
            "height": [1, 2, self.depth],
            "unaries": [self.unaries],
            "just_opened": [1],
            "has_brackets": [1],
        }
