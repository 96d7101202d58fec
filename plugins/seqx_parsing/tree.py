"""Constituency trees."""

from collections.abc import Iterator
from typing import NamedTuple


class Leaf(NamedTuple):
    """A word and its part of speech."""

    tag: str
    word: str

    def __str__(self) -> str:
        """The leaf in brackets, as the Penn Treebank writes it."""
        return f"({self.tag} {self.word})"


class Tree(NamedTuple):
    """A labelled constituent. A treebank's outermost bracket, which has no label there, is a "TOP"."""

    label: str
    children: "tuple[Tree | Leaf, ...]"

    def __str__(self) -> str:
        """The tree in brackets, on one line."""
        return f"({self.label} {' '.join(map(str, self.children))})"

    def leaves(self) -> Iterator[Leaf]:
        """The leaves, from left to right."""
        for child in self.children:
            if isinstance(child, Leaf):
                yield child
            else:
                yield from child.leaves()
