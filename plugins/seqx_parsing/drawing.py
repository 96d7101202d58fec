"""Draw trees with text characters, and as SVG."""

import re
import unicodedata
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import count
from xml.sax.saxutils import escape

from seqx_parsing.tree import Leaf, Tree

_FONT = 16  # the size of the text in pixels
_CHARACTER = 0.6 * _FONT  # the approximate width of a character
_ROW, _GAP, _LINE = 3 * _FONT, _FONT, 0.4 * _FONT  # distances: between rows, between words, line to text
_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def draw_tree(tree: Tree, *, plain: bool = False) -> str:
    """Draw a tree over several lines, as NLTK does; `plain` uses ASCII characters only."""
    from nltk.tree.prettyprinter import TreePrettyPrinter  # noqa: PLC0415  NLTK is slow to import

    text = TreePrettyPrinter(tree.to_nltk()).text(unicodelines=not plain)
    return "\n".join(line.rstrip() for line in text.split("\n") if line.strip()) + "\n"


def draw_svg(tree: Tree, wrong: AbstractSet[int] = frozenset()) -> str:
    """Draw a tree as an SVG image on one line, with the words in the lowest row.

    Args:
        tree: the tree
        wrong: the numbers of constituents, in the order of `Tree.brackets`, that get the class `wrong`
    """
    root = _Node.of(tree, wrong, count())
    width, height = root.width, _ROW * (root.depth + 1)
    shapes = "".join(root.shapes(0, 0, root.depth))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-family="sans-serif" font-size="{_FONT}" '
        f'text-anchor="middle" fill="currentColor"><title>{_escaped(str(tree))}</title>'
        f"{shapes}</svg>"
    )


@dataclass
class _Node:
    """A label or a word of a drawing, with the positions of everything below it.

    Args:
        text: the label or word
        width: the width of the node and everything below it
        x: the middle of the text, from the left of the node
        depth: the number of rows below the node
        children: the nodes below, each with its left edge
        is_wrong: true if the label gets the class `wrong`
    """

    text: str
    width: float
    x: float
    depth: int
    children: "list[tuple[float, _Node]]"
    is_wrong: bool = False

    @classmethod
    def of(cls, part: Tree | Leaf, wrong: AbstractSet[int], numbers: Iterator[int]) -> "_Node":
        """Return the node of a constituent, which takes the next number, or of a part-of-speech tag."""
        if isinstance(part, Leaf):
            return cls._over(part.tag, [cls._over(part.word, [])])
        is_wrong = next(numbers) in wrong
        node = cls._over(part.label, [cls.of(child, wrong, numbers) for child in part.children])
        return replace(node, is_wrong=is_wrong)

    @classmethod
    def _over(cls, text: str, children: "list[_Node]") -> "_Node":
        own = _width(text) + _GAP
        below = sum(child.width for child in children)
        left, placed = max(0.0, (own - below) / 2), list[tuple[float, _Node]]()
        for child in children:
            placed.append((left, child))
            left += child.width
        centres = [edge + child.x for edge, child in placed]
        x = (centres[0] + centres[-1]) / 2 if centres else own / 2
        width = max(own, below)
        x = min(max(x, own / 2), width - own / 2)
        return cls(text, width, x, 1 + max((child.depth for child in children), default=-1), placed)

    def shapes(self, left: float, row: int, last: int) -> Iterator[str]:
        """Yield the text and the lines of the node and everything below it.

        Args:
            left: the left edge of the node
            row: its row, from 0
            last: the row of the words
        """
        x, y = left + self.x, _ROW * (row + 0.5)
        mark = ' class="wrong"' if self.is_wrong else ""
        yield f'<text{mark} x="{x:.1f}" y="{y:.1f}" dominant-baseline="central">{_escaped(self.text)}</text>'
        for edge, child in self.children:
            below = row + 1 if child.children else last
            yield (
                f'<line x1="{x:.1f}" y1="{y + _FONT - _LINE:.1f}" x2="{left + edge + child.x:.1f}" '
                f'y2="{_ROW * (below + 0.5) - _FONT + _LINE:.1f}" stroke="currentColor" stroke-width="1"/>'
            )
            yield from child.shapes(left + edge, below, last)


def _width(text: str) -> float:
    """Return the approximate width of a text; East Asian characters are wide."""
    return _CHARACTER * sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def _escaped(text: str) -> str:
    """Escape a text for XML; characters that XML does not allow become U+FFFD."""
    return escape(_NOT_XML.sub("\ufffd", text))
