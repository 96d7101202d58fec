"""Detect dummy roots: outermost labels, such as ROOT, S1 or VROOT, that do not stand for a constituent."""

from collections.abc import Iterable, Iterator

from seqx_parsing.linearisation import TOP, strip_top
from seqx_parsing.tree import Leaf, Tree

_USUAL_NAMES = {"root", "s1", "vroot", "top", "dummy"}


class RootLabels:
    """Collects the outermost labels of a treebank's trees, except TOP."""

    def __init__(self) -> None:
        self._outermost: set[str | None] = set()
        self._inside: set[str] = set()
        self._only_children: set[str | None] = set()

    def add(self, outermost: str | None, inside: Iterable[str], child: str | None) -> None:
        """Add the labels of one tree.

        Args:
            outermost: the label of the outermost bracket; None if it is TOP or if no bracket has all words
            inside: the labels of all other constituents
            child: the label of the outermost bracket's only child; None if it has several children or a word
        """
        self._outermost.add(outermost)
        self._inside.update(inside)
        self._only_children.add(child)

    def add_tree(self, tree: Tree) -> None:
        """Add a cleaned tree."""
        top = strip_top(tree)
        outermost = None if top.label == TOP else top.label
        match top.children:
            case (Tree(child),):
                self.add(outermost, _labels(top.children), child)
            case _:
                self.add(outermost, _labels(top.children), None)

    @property
    def common_dummy(self) -> str | None:
        """The outermost label of all trees if it is a dummy root, else None.

        A dummy root is never the label of an inner constituent. In addition, it has one of the usual names of
        dummy roots, or it always has a single child and these children have different labels. Any other label
        may be a real constituent, such as S in a treebank of sentences.
        """
        if len(self._outermost) != 1 or self._outermost & self._inside:
            return None
        (label,) = self._outermost
        has_various_children = len(self._only_children) > 1 and None not in self._only_children
        if label is not None and (label.lower() in _USUAL_NAMES or has_various_children):
            return label
        return None

    @property
    def probable_dummies(self) -> list[str]:
        """The dummy root of all trees; without one, the outermost labels with a usual name of dummy roots."""
        if self.common_dummy is not None:
            return [self.common_dummy]
        labels = {label for label in self._outermost - self._inside if label is not None}
        return sorted(label for label in labels if label.lower() in _USUAL_NAMES)


def without_root(tree: Tree, root: str | None) -> Tree:
    """Return the tree with its dummy root `root` replaced by TOP."""
    top = strip_top(tree)
    return Tree(TOP, top.children) if root is not None and top.label == root else tree


def _labels(parts: Iterable[Tree | Leaf]) -> Iterator[str]:
    pending = list(parts)
    while pending:
        part = pending.pop()
        if isinstance(part, Tree):
            yield part.label
            pending += part.children
