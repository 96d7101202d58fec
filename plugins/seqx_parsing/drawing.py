"""Draw trees with text characters."""

from seqx_parsing.tree import Leaf, Tree


def draw_tree(tree: Tree, *, plain: bool = False) -> str:
    """Draw a tree over several lines, as NLTK does; `plain` uses ASCII characters only."""
    from nltk.tree import Tree as NltkTree  # noqa: PLC0415  NLTK is slow to import
    from nltk.tree.prettyprinter import TreePrettyPrinter  # noqa: PLC0415

    def to_nltk(part: Tree | Leaf) -> NltkTree:
        if isinstance(part, Leaf):
            return NltkTree(part.tag, [part.word])
        return NltkTree(part.label, list(map(to_nltk, part.children)))

    text = TreePrettyPrinter(to_nltk(tree)).text(unicodelines=not plain)
    return "\n".join(line.rstrip() for line in text.split("\n") if line.strip()) + "\n"
