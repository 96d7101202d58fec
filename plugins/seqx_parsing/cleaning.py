"""From a treebank's tree to what a parser learns: no traces, bare labels, words as a reader sees them."""

import re
from collections.abc import Iterable

from seqx_parsing.tree import Leaf, Tree

TRACE = "-NONE-"
"""The tag of what is not said: traces, and other elements that only the annotators see."""

SEPARATORS = ("-", "=", "##")
"""Separators of function tags and indices (NP-SBJ-1, NP=2), and of features of SPMRL (NP##num=s##)."""

TAG_SEPARATORS = ("##",)
"""Separators in a part of speech, which EVALB does not cut at - or =."""

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


def clean(
    tree: Tree,
    *,
    training: bool = False,
    separators: Iterable[str] = SEPARATORS,
    tag_separators: Iterable[str] = TAG_SEPARATORS,
) -> Tree | None:
    """Return the tree without traces, with labels and tags cut; None if no words are left.

    Labels are cut as EVALB cuts them, and at the beginning of features. In training trees, the first of
    alternative labels is taken, too (PRT of PRT|ADVP); references keep both, because EVALB does.

    Args:
        tree: the tree of the treebank
        training: true for training trees
        separators: where labels are cut
        tag_separators: where the words' tags are cut
    """
    separators, tag_separators = tuple(separators), tuple(tag_separators)

    def cleaned(part: Tree) -> Tree | None:
        children: list[Tree | Leaf] = []
        for child in part.children:
            if isinstance(child, Leaf):
                tag = cut(child.tag, tag_separators)
                if tag != TRACE:
                    children.append(Leaf(tag, child.word))
            elif (kept := cleaned(child)) is not None:
                children.append(kept)
        if not children:
            return None
        label = cut(part.label, separators)
        return Tree(_ALTERNATIVES.sub("", label) if training else label, tuple(children))

    return cleaned(tree)


def cut(name: str, separators: Iterable[str]) -> str:
    """Cut a label or tag at the first separator, except one at its beginning (-LRB-)."""
    places = (name.find(each, 1) for each in separators if not name.startswith(each))
    return name[: min((place for place in places if place > 0), default=len(name))]


def shown(word: str) -> str:
    r"""A word of a tree as running text has it, and a model is to see it: "(" for -LRB-, "/" for \/.

    Treebanks differ in what they escape, so that the way back is not known: trees keep the words they have.
    """
    return _ESCAPE.sub(lambda match: _SHOWN[match[0]], word)


def escaped(word: str) -> str:
    r"""A word of running text as the Penn Treebank writes it in trees: -LRB- for "(", \/ for "/"."""
    return _SPECIAL.sub(lambda match: _ESCAPED[match[0]], word)
