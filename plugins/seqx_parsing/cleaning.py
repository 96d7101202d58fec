"""Clean treebank trees: remove traces, and cut labels. Escape and unescape words."""

import re
from collections.abc import Iterable
from functools import lru_cache

from seqx_parsing.tree import Leaf, Tree

TRACE = "-NONE-"
"""The tag of traces and of other leaves that are not words."""

SEPARATORS = ("-", "=", "##")
"""Separators of function tags and indices (NP-SBJ-1, NP=2), and of SPMRL features (NP##num=s##)."""

TAG_SEPARATORS = ("##",)
"""Separators within part-of-speech tags. EVALB does not cut tags at - or =."""

_ALTERNATIVES = re.compile(r"(?<=.)\|.*")  # ambiguous labels, such as PRT|ADVP

_UNESCAPED = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
    r"\/": "/",
    r"\*": "*",
}
_ESCAPED = {unescaped: escaped for escaped, unescaped in _UNESCAPED.items()}
_ESCAPE = re.compile("|".join(map(re.escape, _UNESCAPED)))
_SPECIAL = re.compile("|".join(map(re.escape, _ESCAPED)))


def clean(
    tree: Tree,
    *,
    training: bool = False,
    separators: Iterable[str] = SEPARATORS,
    tag_separators: Iterable[str] = TAG_SEPARATORS,
) -> Tree | None:
    """Return the tree without traces, function tags, indices and features; None if it has no words.

    Labels are cut at the same separators as in EVALB, and before features. Training trees keep only the first
    of several alternative labels (PRT of PRT|ADVP). References keep all of them, because EVALB does.

    Args:
        tree: the tree of the treebank
        training: true for training trees
        separators: strings at which labels are cut
        tag_separators: strings at which part-of-speech tags are cut
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


@lru_cache(4096)  # a treebank has few labels and tags, but many constituents and words
def cut(name: str, separators: tuple[str, ...]) -> str:
    """Cut a label or tag at its first separator. Separators with which it begins do not count (-LRB-)."""
    positions = (name.find(each, 1) for each in separators if not name.startswith(each))
    return name[: min((position for position in positions if position > 0), default=len(name))]


def unescape(word: str) -> str:
    r"""Return a word of a tree as it is in running text, for the tokenizer: "(" for -LRB-, "/" for \/.

    Trees keep their escaped words: treebanks escape different characters, so `unescape` cannot be undone.
    """
    return _ESCAPE.sub(lambda match: _UNESCAPED[match[0]], word)


def escape(word: str) -> str:
    r"""Return a word of running text as the Penn Treebank escapes it: -LRB- for "(", \/ for "/"."""
    return _SPECIAL.sub(lambda match: _ESCAPED[match[0]], word)
