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
