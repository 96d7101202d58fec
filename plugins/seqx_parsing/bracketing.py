"""Linearisations with typed brackets, such as `(NP` and `)NP`, and one symbol per word."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar, NamedTuple, Self

from annotated_types import Gt

from seqx_parsing.assembly import Assembly
from seqx_parsing.linearisation import Decoded, Linearisation, linearise
from seqx_parsing.tree import UNTAGGED, Leaf, Tree
from seqx_parsing.vocabulary import UNKNOWN


class Kind(IntEnum):
    """The kinds of symbols."""

    NOTHING = 0  # no meaning, such as <unk>
    END = 1  # EOS
    WORD = 2
    OPEN = 3  # an opening bracket with a label
    CLOSE = 4  # a closing bracket with a label


@dataclass(frozen=True, kw_only=True)
class Bracketing(Linearisation):
    """Linearisation with typed brackets and one symbol per word.

    Args:
        tags: write the part of speech of each word; if false, every word is written as XX, which gives an F1
            that is about 1 point higher (Vinyals et al. 2015, section 3)
        depth: maximum number of open constituents that the grammar allows; TOP counts if it is written
    """

    children_before_bracket: ClassVar[int]
    """The number of children that are written before the opening bracket."""

    adjustable: ClassVar[frozenset[str]] = frozenset({"depth"})
    """The settings that may change once the vocabulary is learned, because they only limit the grammar.

    Each has the name of a field of `MaxCounts`.
    """

    tags: bool = False
    depth: Annotated[int, Gt(0)] = 60

    def order(self, tree: Tree) -> list[Tree | Leaf | str]:
        """Return a constituent's brackets and children in the order in which they are written."""
        return [
            *tree.children[: self.children_before_bracket],
            f"({tree.label}",
            *tree.children[self.children_before_bracket :],
            f"){tree.label}",
        ]

    def encode(self, tree: Tree) -> list[str]:
        """Return the symbols of a tree."""
        return linearise(tree, self.order, lambda leaf: leaf.tag if self.tags else UNTAGGED)

    def decode(self, symbols: Sequence[str], leaves: Sequence[Leaf]) -> Decoded:
        """Return a tree over exactly these leaves; `Assembly` documents the repairs of malformed symbols."""
        assembly = Assembly(leaves)
        for symbol in symbols:
            match self.kind(symbol):
                case Kind.WORD:
                    assembly.word(symbol if self.tags else None)
                case Kind.OPEN:
                    assembly.open(symbol[1:], self.children_before_bracket)
                case Kind.CLOSE:
                    assembly.close(symbol[1:])
                case _:
                    assembly.skip()
        return assembly.finish()

    def needs(self, tree: Tree) -> Mapping[str, int]:
        """Return the smallest value of each limit of the grammar that allows this tree."""
        counts = MaxCounts.of(map(self.kind, self.encode(tree)))
        return {name: getattr(counts, name) for name in sorted(self.adjustable)}

    def is_word(self, symbol: str) -> bool:
        """Return true if a symbol stands for a word."""
        return self.kind(symbol) == Kind.WORD

    def kind(self, symbol: str) -> Kind:
        """Return the kind of a symbol."""
        if len(symbol) > 1 and symbol[0] in "()":
            return Kind.OPEN if symbol[0] == "(" else Kind.CLOSE
        return Kind.WORD if (symbol != UNKNOWN if self.tags else symbol == UNTAGGED) else Kind.NOTHING


class MaxCounts(NamedTuple):
    """The counts that a grammar limits. Each is the maximum over all prefixes of a tree's symbols."""

    depth: int  # open constituents
    opens: int  # constituents opened between two words
    unaries: int  # constituents closed in a row, each directly after its opening bracket

    @classmethod
    def of(cls, symbols: Iterable[Kind]) -> Self:
        """Return the counts of one tree, from the kinds of its symbols."""
        height = opens = unaries = 0
        largest, previous = cls(0, 0, 0), Kind.NOTHING
        for kind in symbols:
            match kind:
                case Kind.WORD:
                    opens = unaries = 0
                case Kind.OPEN:
                    height, opens = height + 1, opens + 1
                case Kind.CLOSE:
                    height, unaries = height - 1, unaries + 1 if previous == Kind.OPEN else 0
            largest = cls(*map(max, largest, (height, opens, unaries)))
            previous = kind
        return largest
