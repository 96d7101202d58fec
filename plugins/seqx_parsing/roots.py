"""Dummy roots: outermost labels that are not constituents, such as ROOT, S1 or VROOT."""

from collections.abc import Iterable, Iterator

from seqx_parsing.linearisation import TOP, unrooted
from seqx_parsing.tree import Leaf, Tree

_KNOWN = {"root", "s1", "vroot", "top", "dummy"}


class Roots:
    """Collects the outermost labels of the trees of a treebank, except TOP."""

    def __init__(self) -> None:
        self._outermost: set[str | None] = set()
        self._inside: set[str] = set()
        self._below: set[str | None] = set()

    def add(self, outermost: str | None, inside: Iterable[str], child: str | None) -> None:
        """Add a tree, given its labels.

        Args:
            outermost: the label of its outermost bracket; None: there is no such bracket, or it is TOP
            inside: the labels of all other constituents
            child: the label of the only child, if it is a constituent
        """
        self._outermost.add(outermost)
        self._inside.update(inside)
        self._below.add(child)

    def add_tree(self, tree: Tree) -> None:
        """Add a cleaned tree."""
        top = unrooted(tree)
        outermost = None if top.label == TOP else top.label
        match top.children:
            case (Tree(child),):
                self.add(outermost, _labels(top.children), child)
            case _:
                self.add(outermost, _labels(top.children), None)

    @property
    def dummy(self) -> str | None:
        """The outermost label that all trees have, if it is a dummy root, else None.

        A dummy root is the label of no inner constituent. Besides, its name is a known one, or it always has
        a single child, with different labels. Otherwise the label can be a true one, such as S in a treebank
        of sentences.
        """
        if len(self._outermost) != 1 or self._outermost & self._inside:
            return None
        (label,) = self._outermost
        wraps = len(self._below) > 1 and None not in self._below
        return label if label is not None and (label.lower() in _KNOWN or wraps) else None

    @property
    def dummies(self) -> list[str]:
        """The outermost labels that are dummies: that of all trees, or of some, if it is known as such."""
        if self.dummy is not None:
            return [self.dummy]
        found = {label for label in self._outermost - self._inside if label is not None}
        return sorted(label for label in found if label.lower() in _KNOWN)


def without_root(tree: Tree, root: str | None) -> Tree:
    """Return a tree with TOP instead of a dummy root."""
    top = unrooted(tree)
    return Tree(TOP, top.children) if root is not None and top.label == root else tree


def _labels(parts: Iterable[Tree | Leaf]) -> Iterator[str]:
    ahead = list(parts)
    while ahead:
        part = ahead.pop()
        if isinstance(part, Tree):
            yield part.label
            ahead += part.children
