"""From a treebank's tree to what a parser learns: no traces, bare labels, words as a reader sees them."""

import re

from seqx_parsing.tree import Leaf, Tree

TRACE = "-NONE-"
"""The tag of what is not said: traces, and other elements that only the annotators see."""

_DECORATION = re.compile(r"(?<=.)[-=].*")  # function tags and indices: NP-SBJ-1, NP=2
_ALTERNATIVES = re.compile(r"(?<=.)\|.*")  # where the annotators left it open: PRT|ADVP

_SHOWN = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
    r"\/": "/",
    r"\*": "*",
}
_ESCAPED = {shown: escaped for escaped, shown in _SHOWN.items()}
_ESCAPE = re.compile("|".join(map(re.escape, _SHOWN)))
_SPECIAL = re.compile("|".join(map(re.escape, _ESCAPED)))


def clean(tree: Tree, *, training: bool = False) -> Tree | None:
    """The tree without traces, with labels cut; None if nothing in it is said.

    Labels are cut as EVALB cuts them, tags of words are not. For training the first of alternative labels is
    taken, too (PRT of PRT|ADVP); what is judged by keeps them, since EVALB does.
    """
    children: list[Tree | Leaf] = []
    for child in tree.children:
        kept = clean(child, training=training) if isinstance(child, Tree) else child
        if kept is not None and not (isinstance(kept, Leaf) and kept.tag == TRACE):
            children.append(kept)
    return Tree(bare(tree.label, training=training), tuple(children)) if children else None


def bare(label: str, *, training: bool = False) -> str:
    """A label up to its first - or =, in training also |; one that begins with - (as -LRB-) is whole."""
    if label.startswith("-"):
        return label
    label = _DECORATION.sub("", label)
    return _ALTERNATIVES.sub("", label) if training else label


def shown(word: str) -> str:
    r"""A word of a tree as running text has it, and a model is to see it: "(" for -LRB-, "/" for \/.

    Treebanks differ in what they escape, so that the way back is not known: trees keep the words they have.
    """
    return _ESCAPE.sub(lambda match: _SHOWN[match[0]], word)


def escaped(word: str) -> str:
    r"""A word of running text as the Penn Treebank writes it in trees: -LRB- for "(", \/ for "/"."""
    return _SPECIAL.sub(lambda match: _ESCAPED[match[0]], word)
