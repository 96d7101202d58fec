"""The top-down linearisation and its grammar (Vinyals et al. 2015).

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
class TopDown(Bracketing):
    """Writes a label before its children: `(S (NP XX XX )NP (VP XX )VP )S` (Vinyals et al. 2015).

    Args:
        opens: maximum number of opening brackets that the grammar allows between two words
    """

    children_before_bracket: ClassVar[int] = 0
    adjustable: ClassVar[frozenset[str]] = Bracketing.adjustable | {"opens"}

    opens: Annotated[int, Gt(0)] = 10

    def grammar(self, vocabulary: Vocabulary, words: Tensor) -> seqx.Grammar:
        """Return the grammar for sentences of `words` [B] words."""
        return TopDownGrammar(self, vocabulary, words)


class TopDownGrammar(BracketGrammar):
    """Grammar of the top-down linearisation.

    All words are inside brackets, no bracket is empty, and the outermost bracket closes after the last word.
    """

    def __init__(self, linearisation: TopDown, vocabulary: Vocabulary, words: Tensor) -> None:
        super().__init__(linearisation, vocabulary, words)
        self.opens = linearisation.opens

    def legal(self, state: BracketState) -> LegalKinds:
        """Return the kinds of symbols that may come next."""
        words_remain, inside = state.words_left > 0, state.height > 0
        may_nest = (state.opens < self.opens) & (state.height < self.depth) & (state.spare >= 2)
        return LegalKinds(
            word=words_remain & inside,
            open=words_remain & (may_nest | ~inside),
            close=inside & (~words_remain | (~state.just_opened & (state.height > 1))),
            end=~words_remain & ~inside,
        )

    def thresholds(self) -> Mapping[str, Sequence[int]]:
        """Return the numbers with which `legal` compares each count."""
        return {
            "words_left": [1],
            "spare": [2],
            "height": [1, 2, self.depth],
            "opens": [self.opens],
            "just_opened": [1],
        }
