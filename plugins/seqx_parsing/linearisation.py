"""The interface of linearisations: trees as symbol sequences for sequence-to-sequence models."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

import seqx
from seqx_parsing.tree import UNTAGGED, Leaf, Tree
from seqx_parsing.vocabulary import Vocabulary

TOP = "TOP"


class Decoded(NamedTuple):
    """A decoded tree; `repaired` is true if the symbols were not a tree over the words of the sentence."""

    tree: Tree
    repaired: bool


class Linearisation(seqx.Codec, ABC):
    """Converts trees to symbol sequences, and any symbol sequence back to a tree.

    Trees are cleaned: they have no empty constituents, and their root is TOP. A tree with another root gets a
    TOP when it is decoded. A TOP with a single constituent as its child is not written (see `strip_top`). A
    sentence without words has no symbols.
    """

    @property
    def tags(self) -> bool:
        """True if the symbols contain part-of-speech tags; if not, `decode` keeps the tags of its leaves."""
        return False

    def is_word(self, symbol: str) -> bool:
        """Return true if a symbol stands for a word; models such as `guided` count these."""
        return symbol == UNTAGGED

    @abstractmethod
    def encode(self, tree: Tree) -> list[str]:
        """Return the symbols of a tree. `decode` restores the same tree from them, at any depth.

        A symbol is a label of 1 to 100 characters without spaces and brackets, or a bracket and such a label.
        """

    @abstractmethod
    def decode(self, symbols: Sequence[str], leaves: Sequence[Leaf]) -> Decoded:
        """Return a tree over exactly these leaves. Malformed symbols are repaired deterministically."""

    def needs(self, tree: Tree) -> Mapping[str, int]:
        """Return, for each setting that limits the grammar, the smallest value that allows this tree.

        seqx compares these values with the settings, to count the trees that the grammar rules out.
        """
        return {}

    @abstractmethod
    def grammar(self, vocabulary: Vocabulary, words: Tensor) -> seqx.Grammar:
        """Return the grammar of outputs that `decode` need not repair, for sentences of `words` [B] words.

        The grammar ends every output in time: if a complete tree fits into the length limit, the output is a
        complete tree. The vocabulary contains the symbols of all training trees.
        """


def strip_top(tree: Tree) -> Tree:
    """Return the tree without TOP if the only child of TOP is a constituent with another label."""
    match tree:
        case Tree("TOP", (Tree(label) as child,)) if label != TOP:
            return child
    return tree


def linearise(
    tree: Tree, order: Callable[[Tree], Sequence[Tree | Leaf | str]], word: Callable[[Leaf], str]
) -> list[str]:
    """Return the symbols of a tree, without recursion.

    Args:
        tree: the tree
        order: returns a constituent's children and the symbols between them, in the order of writing
        word: returns the symbol of a leaf
    """
    symbols = []
    pending: list[Tree | Leaf | str] = [strip_top(tree)] if tree.children else []
    while pending:
        match part := pending.pop():
            case Tree():
                pending.extend(reversed(order(part)))
            case Leaf():
                symbols.append(word(part))
            case str():
                symbols.append(part)
    return symbols


def add_top(parts: Sequence[Tree | Leaf]) -> Tree:
    """Undo `strip_top`: return the only TOP, or a TOP over all parts."""
    match parts:
        case [Tree("TOP") as tree]:
            return tree
    return Tree(TOP, tuple(parts))
