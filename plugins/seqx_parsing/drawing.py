"""Trees drawn with characters."""

from seqx_parsing.tree import Leaf, Tree


def drawn(tree: Tree, *, plain: bool = False) -> str:
    """A tree over several lines, as NLTK draws it; `plain`: with ASCII characters only."""
    from nltk.tree import Tree as Drawn  # noqa: PLC0415  NLTK takes its time to load
    from nltk.tree.prettyprinter import TreePrettyPrinter  # noqa: PLC0415

    def made(part: Tree | Leaf) -> Drawn:
        if isinstance(part, Leaf):
            return Drawn(part.tag, [part.word])
        return Drawn(part.label, list(map(made, part.children)))

    text = TreePrettyPrinter(made(tree)).text(unicodelines=not plain)
    return "\n".join(line.rstrip() for line in text.split("\n") if line.strip()) + "\n"
