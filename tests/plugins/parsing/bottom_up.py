"""A linearisation from outside: children first, then their label and number, as `XX XX NP/2 XX VP/1 S/2`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import seqx
from seqx_parsing import Assembly, Decoded, Leaf, Linearisation, Tree, Vocabulary, spelled


class BottomUp(Linearisation):
    """Writes a constituent behind its children."""

    def encode(self, tree: Tree) -> list[str]:
        return spelled(tree, lambda t: [*t.children, f"{t.label}/{len(t.children)}"], lambda _: "XX")

    def decode(self, symbols: Sequence[str], leaves: Sequence[Leaf]) -> Decoded:
        assembly = Assembly(leaves)
        for symbol in symbols:
            label, _, count = symbol.rpartition("/")
            if symbol == "XX":
                assembly.word()
            elif label:
                assembly.open(label, int(count))
                assembly.close(label)
            else:
                assembly.skip()
        return assembly.finish()

    def grammar(self, vocabulary: Vocabulary, words: Tensor) -> seqx.Grammar:
        return BottomUpGrammar(vocabulary, words)


class State(NamedTuple):
    left: Tensor  # [N] words to come
    parts: Tensor  # [N] finished ones, which must become one
    unaries: Tensor  # [N] in a row
    bare: Tensor  # [N] bool: the last part is a word
    budget: Tensor  # [N] symbols to come at most


class BottomUpGrammar(seqx.Grammar):
    def __init__(self, vocabulary: Vocabulary, words: Tensor) -> None:
        sizes = [0 if symbol == "XX" else int(symbol.rpartition("/")[2]) for symbol in vocabulary.symbols]
        self.words, self.sizes = words, torch.tensor([0, 0, 0, 0, *sizes])  # [N], [V]
        (self.shift,) = vocabulary.ids(["XX"])

    def start(self, rows: int, limits: Tensor) -> State:
        none = torch.zeros_like(limits)
        return State(self.words, none, none, none.bool(), limits)

    def allowed(self, state: State) -> Tensor:
        loose = state.left + state.parts
        unary = (state.unaries < 4) & (state.budget - state.left >= loose) | (loose == 1) & state.bare
        least = torch.where(unary, 1, 2)[:, None]
        allowed = (self.sizes >= least) & (self.sizes <= state.parts[:, None])  # [N, V]
        allowed[:, self.shift] = state.left > 0
        allowed[:, seqx.EOS] = (state.left == 0) & (state.parts <= 1) & ~state.bare
        return allowed

    def advance(self, state: State, tokens: Tensor) -> State:
        size, shift = self.sizes[tokens], tokens == self.shift
        return State(
            left=(state.left - shift.long()).clamp_min(0),
            parts=(state.parts + shift - (size - 1).clamp_min(0)).clamp_min(0),
            unaries=(state.unaries + (size == 1)).masked_fill(shift | (size > 1), 0),
            bare=shift | (state.bare & (size == 0)),
            budget=state.budget - 1,
        )
