"""Constituency trees."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

DEEPEST = 250
"""The largest depth of a tree, on which recursive code relies. Real trees are less than 40 deep."""

UNTAGGED = "XX"
"""The placeholder for an unknown word or part of speech."""

_ESCAPED = {"(": "-LRB-", ")": "-RRB-"}
_UNREADABLE = re.compile(r"[() \t\n\v\f\r]")


def written(name: str) -> str:
    """Return a word, tag or label that fits in brackets: -LRB- for "(", _ for a space, XX for ""."""
    return _UNREADABLE.sub(lambda match: _ESCAPED.get(match[0], "_"), name) or UNTAGGED


class Leaf(NamedTuple):
    """A word and its part of speech."""

    tag: str
    word: str

    def __str__(self) -> str:
        """The leaf in brackets, as the Penn Treebank writes it."""
        return f"({written(self.tag)} {written(self.word)})"


class Tree(NamedTuple):
    """A labelled constituent. A treebank's outermost bracket, which has no label there, is a "TOP"."""

    label: str
    children: "tuple[Tree | Leaf, ...]"

    def __str__(self) -> str:
        """Return the tree in brackets on one line, which can be read again; "" for a tree without words.

        `written` changes names that cannot be written, and `readable` the shape.
        """
        tree = self.readable()
        said: list[str] = []
        ahead: list[Tree | Leaf | str] = [tree] if tree.children else []
        while ahead:  # no recursion: Python's is soon at its end
            part = ahead.pop()
            if isinstance(part, Tree):
                said.append(f" ({written(part.label)}")
                ahead += (")", *reversed(part.children))
            else:
                said.append(part if isinstance(part, str) else f" {part}")
        return "".join(said)[1:]

    def readable(self) -> "Tree":
        """Return the tree in a shape that can be read.

        Empty constituents are removed. Constituents that are nested too deep are replaced by their words.
        """
        labels: list[str] = []
        parts: list[list[Tree | Leaf]] = [[]]
        ahead: list[Tree | Leaf | None] = [self]  # None: a constituent ends
        mended = False
        while ahead:
            part = ahead.pop()
            if part is None:
                label, children = labels.pop(), tuple(parts.pop())
                if children or not labels:
                    parts[-1].append(Tree(label, children))
                mended |= not children
            elif isinstance(part, Leaf):
                parts[-1].append(part)
            elif len(labels) < DEEPEST - 1:
                labels.append(part.label)
                parts.append([])
                ahead += (None, *reversed(part.children))
            else:
                ahead.extend(reversed(part.children))
                mended = True
        (whole,) = parts[0]
        return whole if mended and isinstance(whole, Tree) else self

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
