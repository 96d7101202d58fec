"""The interface of linearisations: trees as sequences of symbols, so that a sequence model can write them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

import seqx
from seqx_parsing.tree import UNTAGGED, Leaf, Tree
from seqx_parsing.vocabulary import Vocabulary

TOP = "TOP"


class Decoded(NamedTuple):
    """The tree that symbols describe; `repaired`: they did not describe a tree over the sentence's words."""

    tree: Tree
    repaired: bool


class Linearisation(seqx.Codec, ABC):
    """Writes a tree as a sequence of symbols, and makes a tree of whatever sequence a model wrote.

    Trees have no empty constituents, as a cleaned treebank has none, and the root TOP: one with another root
    comes back below a TOP. TOP is not written where it says nothing (see `unrooted`), and a sentence without
    words has no symbols.
    """

    @property
    def tags(self) -> bool:
        """Whether symbols say the words' parts of speech; where not, those of the given leaves stay."""
        return False

    def is_word(self, symbol: str) -> bool:
        """Whether a symbol stands for a word: models that look at the next word count them."""
        return symbol == UNTAGGED

    @abstractmethod
    def encode(self, tree: Tree) -> list[str]:
        """The symbols of a tree; `decode` makes the same tree of them, however deep or odd it is.

        Each is a word of at most 100 characters; a bracket can be its first, and none stands within.
        """

    @abstractmethod
    def decode(self, symbols: Sequence[str], leaves: Sequence[Leaf]) -> Decoded:
        """A tree over exactly these leaves. What is malformed is repaired, always in the same way."""

    def needs(self, tree: Tree) -> Mapping[str, int]:
        """Return the smallest value of each setting that limits the grammar with which it allows a tree.

        With these, seqx counts the trees of a treebank that the grammar rules out.
        """
        return {}

    @abstractmethod
    def grammar(self, vocabulary: Vocabulary, words: Tensor) -> seqx.Grammar:
        """Allows for sentences of `words` [B] words just what `decode` need not repair.

        Plans ahead, so that every output ends in time: where a limit leaves room for a tree at all, none is
        cut off. The vocabulary is that of all training trees.
        """


def unrooted(tree: Tree) -> Tree:
    """What is written of a tree: not its TOP where that has one child, a constituent with another label."""
    match tree:
        case Tree("TOP", (Tree(label) as child,)) if label != TOP:
            return child
    return tree


def spelled(
    tree: Tree, order: Callable[[Tree], Sequence[Tree | Leaf | str]], word: Callable[[Leaf], str]
) -> list[str]:
    """The symbols of a tree, however deep.

    Args:
        tree: what is written
        order: a constituent's children, and the symbols that stand among them, in the order of writing
        word: the symbol of a leaf
    """
    symbols = []
    ahead: list[Tree | Leaf | str] = [unrooted(tree)] if tree.children else []
    while ahead:
        match part := ahead.pop():
            case Tree():
                ahead.extend(reversed(order(part)))
            case Leaf():
                symbols.append(word(part))
            case str():
                symbols.append(part)
    return symbols


def rooted(parts: Sequence[Tree | Leaf]) -> Tree:
    """The opposite of `unrooted`; several parts come to stand next to each other."""
    match parts:
        case [Tree("TOP") as tree]:
            return tree
    return Tree(TOP, tuple(parts))
