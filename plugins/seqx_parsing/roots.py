"""Detect dummy roots: outermost labels such as ROOT, S1 or VROOT that are not constituents."""

from collections.abc import Iterable, Iterator

from seqx_parsing.linearisation import TOP, strip_top
from seqx_parsing.tree import Leaf, Tree

_COMMON_NAMES = {"root", "s1", "vroot", "top", "dummy"}


class RootLabels:
    """Collects the outermost labels of a treebank's trees, except TOP."""

    def __init__(self) -> None:
        self._outermost: set[str | None] = set()
        self._inside: set[str] = set()
        self._only_children: set[str | None] = set()

    def add(self, outermost: str | None, inside: Iterable[str], child: str | None) -> None:
        """Add the labels of one tree.

        Args:
            outermost: the label of the outermost bracket; None if it is TOP or if there is no bracket around
                all words
            inside: the labels of all other constituents
            child: the label of the only child, if that is a constituent
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
    def dummy(self) -> str | None:
        """The outermost label of all trees if it is a dummy root, else None.

        A dummy root is never the label of an inner constituent. In addition, either its name is a common one
        for dummy roots, or it always has a single child and these children have different labels. Otherwise
        the label may be a real one, such as S in a treebank of sentences.
        """
        if len(self._outermost) != 1 or self._outermost & self._inside:
            return None
        (label,) = self._outermost
        wraps = len(self._only_children) > 1 and None not in self._only_children
        return label if label is not None and (label.lower() in _COMMON_NAMES or wraps) else None

    @property
    def dummies(self) -> list[str]:
        """The dummy root of all trees; else the outermost labels that have a common name of dummy roots."""
        if self.dummy is not None:
            return [self.dummy]
        labels = {label for label in self._outermost - self._inside if label is not None}
        return sorted(label for label in labels if label.lower() in _COMMON_NAMES)


def without_root(tree: Tree, root: str | None) -> Tree:
    """Return the tree with TOP in place of the dummy root."""
    top = strip_top(tree)
    return Tree(TOP, top.children) if root is not None and top.label == root else tree


def _labels(parts: Iterable[Tree | Leaf]) -> Iterator[str]:
    pending = list(parts)
    while pending:
        part = pending.pop()
        if isinstance(part, Tree):
            yield part.label
            pending += part.children
