"""Constituency trees."""

from collections.abc import Iterable, Iterator
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
        said: list[str] = []
        ahead: list[Tree | Leaf | str] = [self]
        while ahead:  # no recursion: Python's is soon at its end
            part = ahead.pop()
            if isinstance(part, Tree):
                said.append(f" ({part.label}")
                ahead += (")", *reversed(part.children))
            else:
                said.append(part if isinstance(part, str) else f" {part}")
        return "".join(said)[1:]

    def leaves(self) -> Iterator[Leaf]:
        """The leaves, from left to right."""
        ahead: list[Tree | Leaf] = [self]
        while ahead:
            part = ahead.pop()
            if isinstance(part, Leaf):
                yield part
            else:
                ahead.extend(reversed(part.children))

    def over(self, leaves: Iterable[Leaf]) -> "Tree":
        """The same brackets over other leaves, which are as many."""
        following = iter(leaves)
        within: list[tuple[str, Iterator[Tree | Leaf], list[Tree | Leaf]]] = []
        within.append((self.label, iter(self.children), []))
        while True:
            label, ahead, done = within[-1]
            part = next(ahead, None)
            if isinstance(part, Tree):
                within.append((part.label, iter(part.children), []))
            elif part is not None:
                done.append(next(following))
            else:
                within.pop()
                tree = Tree(label, tuple(done))
                if not within:
                    return tree
                within[-1][2].append(tree)
