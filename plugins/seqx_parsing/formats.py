"""Text formats of trees, for other programs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from seqx_parsing.drawing import draw_svg, draw_tree
from seqx_parsing.tree import Leaf, Tree, escape_name

_SPACE = re.compile(r"\s")
_LATEX = {
    **{character: f"\\{character}" for character in "#$%&_{}"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
}


@dataclass(frozen=True)
class Format:
    """A text format of a tree.

    Args:
        write: returns a tree in this format; if it has several lines, an empty line follows
        one_line: true if a tree has one line
    """

    write: Callable[[Tree], str]
    one_line: bool = True


def to_spans(tree: Tree) -> str:
    """Return one line for each constituent: label, first word from 0, word after the last, and words."""
    words = [_word(leaf.word) for leaf in tree.leaves()]
    return "".join(
        f"{escape_name(label)}\t{start}\t{end}\t{' '.join(words[start:end])}\n"
        for label, start, end in tree.brackets()
    )


def to_conll(tree: Tree) -> str:
    """Return one line for each word with the columns of CoNLL-2012; - or * where a parser has no value.

    The columns are document, part, word number, word, part-of-speech tag, parse bit, predicate lemma,
    frameset, word sense, speaker, named entities and coreference (Pradhan et al. 2012, table 2).
    """
    opened = [""] * (1 + sum(1 for _ in tree.leaves()))
    closed = [0] * len(opened)
    for label, start, end in tree.brackets():
        opened[start] += f"({_word(label)}"
        closed[end] += 1
    return "".join(
        f"- 0 {number} {_word(leaf.word)} {_word(leaf.tag)} "
        f"{opened[number]}*{')' * closed[number + 1]} - - - - * -\n"
        for number, leaf in enumerate(tree.leaves())
    )


def to_latex(tree: Tree) -> str:
    """Return the tree as an environment of the LaTeX package forest, on one line."""

    def write(part: Tree | Leaf | str) -> str:
        if isinstance(part, str):
            return f"[{{{_latex(part)}}}]"
        name, children = (part.tag, [part.word]) if isinstance(part, Leaf) else (part.label, part.children)
        return f"[{{{_latex(name)}}} {' '.join(map(write, children))}]"

    return rf"\begin{{forest}} {write(tree)} \end{{forest}}"


FORMATS: Mapping[str, Format] = {
    "brackets": Format(str),
    "conll": Format(to_conll, one_line=False),
    "drawing": Format(draw_tree, one_line=False),
    "latex": Format(to_latex),
    "spans": Format(to_spans, one_line=False),
    "svg": Format(draw_svg),
}
"""The formats by name."""


def _word(text: str) -> str:
    """Return a word or a label without brackets and white space, which separate columns."""
    return _SPACE.sub("_", escape_name(text))


def _latex(text: str) -> str:
    """Escape a text for LaTeX."""
    return "".join(_LATEX.get(character, character) for character in text)
