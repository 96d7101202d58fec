"""For each law of linearisations, a faulty linearisation breaks this law and no other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from torch import Tensor

import seqx
import seqx_parsing.testing
from seqx.testing import laws_of
from seqx_parsing import Decoded, Leaf, Linearisation, TopDown, Tree, Vocabulary
from seqx_parsing.bracket_grammar import BracketState
from tests.laws.conftest import Broken

assert seqx_parsing.testing.TREES  # the module is imported to register its laws


class FaultyGrammar(seqx.Grammar):
    """A grammar that obeys all laws except the one named by `fault`."""

    def __init__(self, grammar: seqx.Grammar, vocabulary: Vocabulary, fault: str) -> None:
        self.grammar, self.fault = grammar, fault
        (self.rare,) = vocabulary.ids(["(FRAG"])

    def start(self, rows: int, limits: Tensor) -> Any:
        return self.grammar.start(rows, limits)

    def allowed(self, state: Any) -> Tensor:
        allowed = self.grammar.allowed(state)
        counts = BracketState(*state[:, : len(BracketState._fields)].unbind(1))
        match self.fault:
            case "grammar_allows_gold_trees":
                allowed[:, self.rare] = False
            case "outputs_of_the_grammar_need_no_repair":
                allowed[:, seqx.EOS] |= counts.words_left == 1
            case "grammar_always_allows_a_symbol":
                allowed &= ~((counts.just_opened > 0) & (counts.words_left == 0))[:, None]
            case "rows_of_the_grammar_state_can_be_reordered" if len(allowed) == 6:
                allowed[1::2, self.rare] = False
        return allowed

    def advance(self, state: Any, tokens: Tensor) -> Any:
        return self.grammar.advance(state, tokens)


@dataclass(frozen=True, kw_only=True)
class Correct(TopDown):
    """A linearisation that obeys all laws except the one named by `fault`."""

    fault: ClassVar[str] = ""

    def encode(self, tree: Tree) -> list[str]:
        symbols = super().encode(tree)
        return (
            [s.replace("WH", "W H") for s in symbols]
            if self.fault == "symbols_fit_into_a_vocabulary_file"
            else symbols
        )

    def decode(self, symbols: Sequence[str], leaves: Sequence[Leaf]) -> Decoded:
        tree, repaired = super().decode([symbol.replace("W H", "WH") for symbol in symbols], leaves)
        match self.fault:
            case "decoding_restores_encoded_trees":
                return Decoded(Tree("TOP", (tree,)) if tree.children[1:] else tree, repaired)
            case "any_symbols_are_decoded_to_a_tree_over_the_words" if repaired and len(leaves) > 1:
                return Decoded(Tree("TOP", tuple(leaves[1:])), repaired)
        return Decoded(tree, repaired)

    def needs(self, tree: Tree) -> Mapping[str, int]:
        return {} if self.fault == "needs_returns_the_smallest_sufficient_limits" else super().needs(tree)

    def grammar(self, vocabulary: Vocabulary, words: Tensor) -> seqx.Grammar:
        return FaultyGrammar(super().grammar(vocabulary, words), vocabulary, self.fault)


LAWS = [getattr(law, "__name__", "") for law in laws_of(Linearisation) if law not in laws_of(object)]


def test_linearisation_without_fault_obeys_all_laws(broken: Broken) -> None:
    assert broken(Linearisation, Correct) == set()


@pytest.mark.parametrize("law", LAWS)
def test_faulty_linearisation_breaks_only_its_law(broken: Broken, law: str) -> None:
    assert broken(Linearisation, type("Broken", (Correct,), {"fault": law, "__doc__": "Broken."})) == {law}
